"""The picky cattrs converter of the settings. Imported only when there is something to structure."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.cols import list_structure_factory
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory, override

from .messages import describe, expected_names, invalid_type, range_text, unknown_field
from .source import KeyPath
from .structure import Problem

T = TypeVar("T")
_Hook = Callable[[Any, Any], Any]

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,256}")


def structure(
    cls: type[T], mapping: Mapping[str, Any], also_known: Sequence[str]
) -> tuple[T | None, tuple[Problem, ...]]:
    """Make `cls` of a mapping, or say everything that is wrong with it; `also_known` are keys of its top read elsewhere."""
    try:
        return _converter().structure(mapping, cls), ()
    except (BaseValidationError, ValueError, TypeError) as error:
        return None, tuple(_problems(error, (), also_known))


@cache  # a converter compiles one function per class; like a compiled pattern, it holds nothing of one call
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook_func(_is_literal, _choice)
    converter.register_structure_hook_factory(_is_list, _list_hook)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(_is_mapping, _mapping_hook)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    return converter


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in {dict, Mapping}


def _integer(value: Any, _: Any) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)  # what a quoted `"${PORT:3111}"` leaves (config-cli-modules 12)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(invalid_type(value, "an integer"))


def _number(value: Any, _: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    raise TypeError(invalid_type(value, "a number"))


def _text(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(invalid_type(value, "a string"))


def _boolean(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError(invalid_type(value, "true or false"))


def _choice(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    if isinstance(value, str) and value not in choices:
        raise ValueError(f"unknown variant {describe(value).removeprefix('string ')}, {expected_names(choices)}")
    if not isinstance(value, str):
        raise TypeError(invalid_type(value, expected_names(choices).removeprefix("expected ")))
    return value


def _list_hook(kind: Any, converter: Converter) -> _Hook:
    return _checking(list_structure_factory(kind, converter), (list, tuple), "a list")


def _tuple_hook(kind: Any, converter: Converter) -> _Hook:
    as_list = _list_hook(list[get_args(kind)[0]], converter)  # type: ignore[misc]  # an argument of a run-time type
    return lambda value, _: tuple(as_list(value, list))


def _mapping_hook(kind: Any, converter: Converter) -> _Hook:
    return _checking(mapping_structure_factory(kind, converter, detailed_validation=True), (Mapping,), "a mapping")


def _class_hook(cls: Any, converter: Converter) -> _Hook:
    attrs.resolve_types(cls)
    bounds = {
        field.name: _bounded(converter.get_structure_hook(field.type), field)
        for field in attrs.fields(cls)
        if not {"minimum", "maximum", "null"}.isdisjoint(field.metadata)
    }
    hook = make_dict_structure_fn(cls, converter, **bounds)
    if (from_text := getattr(cls, "from_text", None)) is not None:
        return _or_text(from_text, _checking(hook, (Mapping,), "a string or a mapping"))
    return _checking(hook, (Mapping,), "a mapping")


def _or_text(from_text: Callable[[str], Any], hook: _Hook) -> _Hook:
    return lambda value, kind: from_text(value) if isinstance(value, str) else hook(value, kind)


def _checking(hook: _Hook, kinds: tuple[type, ...], noun: str) -> _Hook:
    def structure(value: Any, kind: Any) -> Any:
        if not isinstance(value, kinds):
            raise TypeError(invalid_type(value, noun))
        return hook(value, kind)

    return structure


def _bounded(hook: _Hook, field: "attrs.Attribute[Any]") -> Any:
    lowest, highest = field.metadata.get("minimum"), field.metadata.get("maximum")

    def structure(value: Any, kind: Any) -> Any:
        if value is None and "null" in field.metadata:
            raise ValueError(field.metadata["null"])
        made = hook(value, kind)
        if made is not None and not ((lowest is None or lowest <= made) and (highest is None or made <= highest)):
            raise ValueError(f"invalid value: {describe(value)}, expected {range_text(lowest, highest)}")
        return made

    return override(struct_hook=structure)


def _problems(error: Exception, around: KeyPath, also_known: Sequence[str]) -> Iterator[Problem]:
    key = (*around, *_steps(error))
    match error:
        case BaseValidationError():
            for inner in error.exceptions:
                yield from _problems(inner, key, also_known if not key else ())
        case ForbiddenExtraKeysError():
            known = [*also_known, *(field.name for field in attrs.fields(error.cl) if field.init)]
            for name in sorted(error.extra_fields):
                yield Problem(key, unknown_field(name, known), unknown=name)
        case KeyError() if key and error.args == key[-1:]:
            yield Problem(key[:-1], f"missing field `{key[-1]}`")
        case ValueError() | TypeError():
            yield Problem(key, str(error))
        case _:
            raise error  # a class the converter cannot handle: a mistake in the code, not in the file


def _steps(error: Exception) -> Iterator[str | int]:
    for note in reversed(getattr(error, "__notes__", ())):
        if isinstance(note, AttributeValidationNote):
            yield note.name
        elif isinstance(note, IterableValidationNote):
            yield note.index
