"""Between JSON values and attrs objects, strictly: nothing is coerced. Imported only when something is typed."""

from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from functools import cache
from typing import Any, Final, Literal, TypeVar, get_args, get_origin
from uuid import UUID

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory
from cattrs.strategies import configure_union_passthrough

from ._channels import ChannelReader, ChannelWriter

T = TypeVar("T")
_Hook = Callable[[Any, Any], Any]

_SEQUENCES: Final = (list, Sequence, MutableSequence)
_SETS: Final = (set, frozenset, AbstractSet)
_MAPPINGS: Final = (dict, Mapping, MutableMapping)
_NOUNS: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class MismatchError(ValueError):
    """A JSON value does not fit a type; the text says where and how, for every place."""


def structuring(kind: type[T]) -> Callable[[Any], T]:
    """What makes a `kind` of a decoded JSON value, or raises MismatchError. Members that a class does not know are ignored.

    Raises cattrs' StructureHandlerNotFoundError for a type that no JSON value can become.
    """
    hook = _converter().get_structure_hook(kind)

    def structure(value: Any) -> T:
        try:
            made: T = hook(value, kind)
        except BaseValidationError as error:
            raise MismatchError("; ".join(transform_error(error, "$", _describe))) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # cattrs lets these through at the top
            raise MismatchError(f"{_describe(error, None)} @ $") from error
        return made

    return structure


def unstructure(value: Any) -> Any:
    """Make plain JSON values of attrs objects, through containers."""
    return _converter().unstructure(value)


@cache  # a converter compiles one function per class; like a compiled pattern, it holds nothing of one value
def _converter() -> Converter:
    converter = Converter(detailed_validation=True)
    converter.register_structure_hook(str, _exactly(str))
    converter.register_structure_hook(bool, _exactly(bool))
    converter.register_structure_hook(int, _exactly(int))
    converter.register_structure_hook(float, _number)
    for live in (ChannelReader, ChannelWriter):
        converter.register_structure_hook(live, _live)
    converter.register_structure_hook(datetime, _parsed(datetime.fromisoformat))
    converter.register_structure_hook(date, _parsed(date.fromisoformat))
    converter.register_structure_hook(UUID, _parsed(UUID))
    converter.register_structure_hook_func(_is_literal, _literal)
    converter.register_structure_hook_factory(_is_one_of(_SEQUENCES), _list_hook)
    converter.register_structure_hook_factory(_is_one_of(_SETS), _set_hook)
    converter.register_structure_hook_factory(_is_one_of((tuple,)), _tuple_hook)
    converter.register_structure_hook_factory(_is_one_of(_MAPPINGS), _mapping_hook)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    configure_union_passthrough(str | bool | int | float | None, converter)
    return converter


def _is_one_of(kinds: tuple[Any, ...]) -> Callable[[Any], bool]:
    return lambda kind: (get_origin(kind) or kind) in kinds


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _exactly(wanted: type) -> _Hook:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not wanted:
            raise _mismatch(value, wanted)
        return value

    return structure


def _live(value: Any, kind: Any) -> Any:
    """An end of a channel, which stands where its reference was."""
    if type(value) is not kind:
        raise TypeError(f"{_NOUNS.get(type(value), type(value).__name__)} where a {kind.__name__} is expected")
    return value


def _number(value: Any, _: Any) -> float:
    if type(value) not in {int, float}:
        raise _mismatch(value, float)
    return float(value)


def _parsed(parse: Callable[[str], Any]) -> _Hook:
    return lambda value, _: parse(_exactly(str)(value, str))


def _literal(value: Any, kind: Any) -> Any:
    for choice in get_args(kind):
        if type(choice) is type(value) and choice == value:
            return choice
    raise ValueError(f"{value!r} is none of {', '.join(map(repr, get_args(kind)))}")


def _list_hook(kind: Any, converter: Converter) -> _Hook:
    return _checking(list, list_structure_factory(kind, converter))


def _set_hook(kind: Any, converter: Converter) -> _Hook:
    as_list = _list_hook(list[(get_args(kind) or (Any,))[0]], converter)  # type: ignore[misc]  # a run-time type
    make = frozenset if (get_origin(kind) or kind) is frozenset else set
    return lambda value, _: make(as_list(value, list))


def _tuple_hook(kind: Any, converter: Converter) -> _Hook:
    kinds = get_args(kind) or (Any, ...)
    if kinds[1:] == (...,):
        as_list = _list_hook(list[kinds[0]], converter)  # type: ignore[valid-type]  # a run-time type
        return lambda value, _: tuple(as_list(value, list))
    hooks = [converter.get_structure_hook(item) for item in kinds]

    def structure(value: Any, _: Any) -> tuple[Any, ...]:
        if len(value) != len(kinds):
            raise ValueError(f"{len(value)} items where {len(kinds)} are expected")
        return tuple(hook(item, wanted) for hook, item, wanted in zip(hooks, value, kinds, strict=True))

    return _checking(list, structure)


def _mapping_hook(kind: Any, converter: Converter) -> _Hook:
    return _checking(dict, mapping_structure_factory(kind, converter, dict))


def _class_hook(cls: Any, converter: Converter) -> _Hook:
    return _checking(dict, make_dict_structure_fn(cls, converter))


def _checking(wanted: type, hook: _Hook) -> _Hook:
    """Ask for the right kind of JSON value first: a string is a sequence of letters, too."""

    def structure(value: Any, kind: Any) -> Any:
        if type(value) is not wanted:
            raise _mismatch(value, wanted)
        return hook(value, kind)

    return structure


def _mismatch(value: Any, wanted: type) -> TypeError:
    return TypeError(f"{_NOUNS.get(type(value), type(value).__name__)} where {_NOUNS[wanted]} is expected")


def _describe(error: BaseException, _: Any) -> str:
    return "missing" if isinstance(error, KeyError) else str(error)
