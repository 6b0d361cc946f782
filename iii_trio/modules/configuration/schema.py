"""Values against their JSON Schema (config-cli-modules 7). The validator is imported with the first value to check."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

from iii_trio.protocol import Json

from .values import Path

if TYPE_CHECKING:
    from jsonschema_rs import Validator

_LONGEST: Final = 500


@attrs.define(eq=False)
class Schema:
    """The schema of one entry. One that is no JSON Schema is taken, and fits no value."""

    document: Json
    _validator: "Validator | None" = attrs.field(default=None, init=False)

    def problem(self, value: Json, unknown: Collection[Path] = ()) -> str | None:
        """Why `value` does not fit, None if it does. What stands at the paths in `unknown` may be anything."""
        try:
            if self._validator is None:
                self._validator = _compile(self.document)
            for error in self._validator.iter_errors(value):
                if tuple(error.instance_path) not in unknown:
                    return _cut(error.message)
        except ValueError as error:  # jsonschema-rs: no schema, or a reference to somewhere else
            return _cut(f"the registered schema cannot be used: {getattr(error, 'message', error)}")
        return None


def _compile(document: Json) -> "Validator":
    import jsonschema_rs

    return jsonschema_rs.validator_for(document, retriever=_refuse)


def _refuse(uri: str) -> NoReturn:
    """A schema of a worker must not make the engine read files or ask other machines."""
    raise ValueError(f"{uri} is not part of the schema")


def _cut(text: Any) -> str:
    line = str(text)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
