"""Messages made of bytes, for a fuzzer that would hardly ever meet a known type with the right fields by changing letters."""

from typing import Final

import attrs

from iii_trio.protocol.messages import AnyMessage

STRUCTS: Final = AnyMessage.__args__
TAGS: Final = [kind.__struct_config__.tag.encode() for kind in STRUCTS]
MESSAGES: Final = [(b"type", *(name.encode() for name in kind.__struct_fields__)) for kind in STRUCTS]
FIELDS: Final = sorted(
    {name for fields in MESSAGES for name in fields} | {b"code", b"message", b"stacktrace", b"queue"}
)
SCALARS: Final = (
    b'"f"',
    b"null",
    b'"5b0c0a43-92f8-4a07-9c1a-6a3f1f3b9d10"',
    b'"void"',
    b'"enqueue"',
    b'""',
    b"true",
    b"0",
    b"-1",
    b"4294967296",
    b"1e400",
    b"123456789012345678901234567890",
    b"0.1",
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\xc3\xa4\xf0\x9f\x9a\x80"',
    b"NaN",
    b" 1 ",
)


@attrs.define(eq=False)
class Recipe:
    """Every byte is one decision on the way to a message."""

    _data: bytes
    _at: int = 0

    def pick(self, count: int) -> int:
        """The next decision, below `count`; 0 when the bytes are used up."""
        self._at += 1
        return self._data[self._at - 1] % count if self._at <= len(self._data) else 0

    def message(self) -> bytes:
        """A message with some of the fields of some type, and some of other types."""
        fields = MESSAGES[self.pick(len(MESSAGES))]
        members = [self._member(name) for name in fields if self.pick(4)]
        members += [self._member(FIELDS[self.pick(len(FIELDS))]) for _ in range(self.pick(3))]
        return b"{%b}" % b",".join(members)

    def _member(self, name: bytes) -> bytes:
        return b'"%b":%b' % (name, self.value() if name != b"type" or not self.pick(8) else self._tag())

    def _tag(self) -> bytes:
        return b'"%b"' % TAGS[self.pick(len(TAGS))]

    def value(self, depth: int = 0) -> bytes:
        """Any JSON value, or what is nearly one."""
        match self.pick(8 if depth < 4 else 5):
            case 0 | 1 | 2 | 3:
                return SCALARS[self.pick(len(SCALARS))]
            case 4:
                size = self.pick(256)
                self._at += size
                return self._data[self._at - size : self._at]
            case 5:
                return b"[%b]" % b",".join(self.value(depth + 1) for _ in range(self.pick(4)))
            case _:
                return b"{%b}" % b",".join(
                    b'"%b":%b' % (FIELDS[self.pick(len(FIELDS))], self.value(depth + 1)) for _ in range(self.pick(5))
                )
