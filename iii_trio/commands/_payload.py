"""The payload of `iii-trio trigger`, from `--json` and `key=value` words (config-cli-modules 10.2, Payload rules)."""

from collections.abc import Sequence
from typing import Any

import attrs

from iii_trio.protocol import decode_json, encode_json
from iii_trio.protocol.errors import IIIError, RemoteProtocolError

_SHOWN = 200


class BadPayload(IIIError):
    """The words of the command line make no payload; the text says which and why."""


@attrs.frozen
class Given:
    """A payload as the command line has it: `text` after the option `option`, and words."""

    text: str | None = None
    option: str = "--json"
    words: tuple[str, ...] = ()

    def payload(self) -> bytes:
        """The payload as JSON text: `{}` unless anything is given; JSON that stands alone goes on as it was written.

        Raises BadPayload.
        """
        if self.text is None:
            return encode_json(_pairs(self.words))
        value = self._value(self.text)
        if not self.words:
            return self.text.encode()
        if not isinstance(value, dict):
            raise BadPayload(f"{self.option} must be an object when combined with kv pairs")
        return encode_json({**value, **_pairs(self.words)})

    def _value(self, text: str) -> Any:
        try:
            return decode_json(text.encode())
        except (RemoteProtocolError, UnicodeEncodeError) as error:
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            start = "Invalid JSON payload:" if self.option == "--payload" else f"{self.option}: invalid JSON"
            raise BadPayload(f"{start} `{shown}` ({error.__cause__ or error})") from error


def _pairs(words: Sequence[str]) -> dict[str, Any]:
    return dict(_pair(word) for word in words)


def _pair(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals:
        raise BadPayload(f"expected key=value, got `{word}`")
    if not key:
        raise BadPayload(f"payload key must not be empty (got `{word}`)")
    return key, _json_or_text(value)


def _json_or_text(value: str) -> Any:
    try:
        return decode_json(value.encode())
    except (RemoteProtocolError, UnicodeEncodeError):
        return value
