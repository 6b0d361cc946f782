"""What Hypothesis draws from: JSON texts as no encoder writes them, and every wire message made from its definition."""

import json
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import Raw, inspect

from iii_trio.protocol.messages import ABSENT, AnyMessage

MESSAGES: tuple[type[msgspec.Struct], ...] = AnyMessage.__args__

SPACE = st.sampled_from(["", "", "", " ", "\n", "\t \r\n"])
NUMBERS = st.one_of(
    st.integers(-(10**40), 10**40).map(str),
    st.sampled_from(["-0", "0.10", "1e400", "-1.5E-7", "0.1000000000000000055511151231257827", "18446744073709551616"]),
)


def _string(text: str, escaped: bool) -> str:
    return json.dumps(text, ensure_ascii=escaped)


STRINGS = st.builds(_string, st.text(max_size=12), st.booleans())
SCALARS = st.one_of(st.sampled_from(["null", "true", "false", r'"\/"']), NUMBERS, STRINGS)


def _array(items: list[str], space: str) -> str:
    return f"[{space}" + f"{space},{space}".join(items) + f"{space}]"


def _object(members: list[tuple[str, str]], space: str) -> str:
    """Keys may repeat."""
    return (
        f"{{{space}" + f"{space},{space}".join(f"{key}{space}:{space}{value}" for key, value in members) + f"{space}}}"
    )


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(_array, st.lists(inner, max_size=4), SPACE),
        st.builds(_object, st.lists(st.tuples(STRINGS, inner), max_size=4), SPACE),
    ),
    max_leaves=12,
)
JSON_TEXTS = VALUES.map(str.encode)
"""One JSON value: integers of any size, repeated keys, any legal white space inside, none around it."""

JSON_OBJECTS = st.builds(_object, st.lists(st.tuples(STRINGS, VALUES), max_size=4), SPACE).map(str.encode)


def messages(cls: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any message of a class, drawn field by field from the class's definition."""
    kind = inspect.type_info(cls)
    assert isinstance(kind, inspect.StructType)
    return st.builds(cls, **{field.name: _values(field.type) for field in kind.fields})


def _values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.StrType():
            return st.text(max_size=20)
        case inspect.IntType(ge=low, le=high):
            return st.integers(low, high)
        case inspect.RawType():
            return st.one_of(st.just(ABSENT), JSON_TEXTS.map(Raw))
        case inspect.NoneType():
            return st.none()
        case inspect.UnionType(types=types):
            return st.one_of([_values(part) for part in types])
        case inspect.VarTupleType(item_type=item):
            return st.lists(_values(item), max_size=3).map(tuple)
        case inspect.StructType(cls=cls):
            return messages(cls)
    raise NotImplementedError(kind)
