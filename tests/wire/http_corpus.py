"""Requests that smuggle, and requests that only look odd: what http.md 13 says about each, as data.

Every case is sent with a second request behind it (`NEXT`). A server must have seen the end of the first where we say it is:
`status` is the first answer, `body` what its handler read, and `goes_on` whether the second request is answered on the
same connection. `stricter` and `cannot` are the whole list of what hypercorn's parser does otherwise; docs/differences.md
says it to users.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import attrs

NEXT = b"GET /next HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
_HEAD = b"POST /up HTTP/1.1\r\nhost: h\r\n"
_CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"

ONE_CODING = "h11 knows one transfer coding only"
NO_HOST = "h11 insists on `host` in HTTP/1.1"
UTF8_TARGET = "h11 takes ASCII targets only"
NO_LEADING = "h11 takes no line ends before the request line"
TAKEN_BY_H11 = {
    "overflow": "h11 takes sizes of up to 20 digits and waits for that much",
    "a control in an extension": "h11 skips chunk extensions unread",
}


@attrs.frozen
class Case:
    """One request, or the beginning of one."""

    name: str
    sent: bytes
    status: int
    body: bytes = b""
    goes_on: bool = False
    stricter: Mapping[str, str] = MappingProxyType({})
    """Servers that answer 400 instead, with the reason."""

    cannot: Mapping[str, str] = MappingProxyType({})
    """Servers that take what should be refused, with the reason; no second request comes of it."""


def taken(name: str, sent: bytes, body: bytes = b"hello", *, status: int = 200, h11: str = "") -> Case:
    """A request that is answered, and the one behind it, too."""
    return Case(name, sent, status, body, goes_on=True, stricter={"hypercorn": h11} if h11 else {})


def refused(name: str, sent: bytes, status: int = 400) -> Case:
    """A request that is refused; nothing behind it is a request any more."""
    return Case(name, sent, status)


def broken(name: str, body: bytes) -> Case:
    """A chunked body that breaks: whoever reads it ends in 400 (D-22)."""
    sent = _HEAD + b"transfer-encoding: chunked\r\n\r\n" + body
    return Case(f"chunks: {name}", sent, 400, cannot={"hypercorn": TAKEN_BY_H11[name]} if name in TAKEN_BY_H11 else {})


def post(fields: bytes, body: bytes) -> bytes:
    return _HEAD + fields + b"\r\n" + body


def get(target: bytes, fields: bytes = b"host: h\r\n", version: bytes = b"HTTP/1.1", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + fields + b"\r\n"


def _lengths() -> Iterator[Case]:
    for value in (b"5", b"0005", b"  5  ", b"\t5"):
        yield taken(f"length {value!r}", post(b"Content-Length:" + value + b"\r\n", b"hello"))
    yield taken("length twice, the same", post(b"content-length: 5\r\ncontent-length: 5\r\n", b"hello"))
    yield taken("length named in connection", post(b"connection: content-length\r\ncontent-length: 5\r\n", b"hello"))
    yield taken("length shorter than what follows", post(b"content-length: 3\r\n", b"hel"), b"hel")
    yield taken("a name with an underscore is another name", post(b"Content_Length: 5\r\n", b""), b"")
    for value in (b"5, 5", b"5, 6", b"+5", b"-5", b"0x5", b"5.0", b"5 5", b"", b"five", b"5,", b"0o5", b"1_0", b"5e0"):
        yield refused(f"length {value!r}", post(b"content-length: " + value + b"\r\n", b"hello"))
    for value in (b"18446744073709551616", b"9" * 400, b"\xd9\xa5", b"\xb2"):
        yield refused(f"length {value[:24]!r}", post(b"content-length: " + value + b"\r\n", b"hello"))
    yield refused("lengths that differ", post(b"content-length: 5\r\ncontent-length: 6\r\n", b"hello"))
    yield refused("lengths that differ by a zero", post(b"content-length: 5\r\ncontent-length: 05\r\n", b"hello"))
    yield refused("a space before the colon", post(b"content-length : 5\r\n", b"hello"))


def _codings() -> Iterator[Case]:
    for value in (b"chunked", b"Chunked", b"\tchunked"):
        yield taken(f"coding {value!r}", post(b"Transfer-Encoding:" + value + b"\r\n", _CHUNKED))
    for value in (b"gzip, chunked", b"chunked, chunked", b",chunked", b"gzip,\tCHUNKED "):
        yield taken(f"coding {value!r}", post(b"Transfer-Encoding: " + value + b"\r\n", _CHUNKED), h11=ONE_CODING)
    yield taken(
        "coding twice", post(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", _CHUNKED), h11=ONE_CODING
    )
    odd = (b"identity", b"chunked, identity", b"xchunked", b"chunked;q=1", b'"chunked"', b"", b"chunked,", b"chunked x")
    for value in (*odd, b"gzip", b"\x0bchunked", b"chunked\x0b", b"\xa0chunked", b"chun ked"):
        yield refused(f"coding {value!r}", post(b"transfer-encoding: " + value + b"\r\n", _CHUNKED))
    for name, fields in (
        ("length, then chunked", b"content-length: 5\r\ntransfer-encoding: chunked\r\n"),
        ("chunked, then length", b"transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        ("chunked and no length", b"transfer-encoding: chunked\r\ncontent-length: 0\r\n"),
        ("identity and length", b"transfer-encoding: identity\r\ncontent-length: 5\r\n"),
        ("chunked, then gzip", b"transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n"),
        ("chunked behind a folded line", b"transfer-encoding:\r\n chunked\r\n"),
        ("chunked behind a bare return", b"x: a\rtransfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        ("chunked behind a bare feed", b"x: a\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        ("a space before the colon of chunked", b"content-length: 5\r\ntransfer-encoding : chunked\r\n"),
        ("a TAB before the colon of chunked", b"content-length: 5\r\ntransfer-encoding\t: chunked\r\n"),
    ):
        yield refused(name, post(fields, _CHUNKED))
    old = b"POST /up HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n"
    yield refused("chunked in HTTP/1.0", old + b"\r\n" + _CHUNKED)
    yield refused("both in HTTP/1.0", old + b"content-length: 5\r\n\r\nhello")


def _chunks() -> Iterator[Case]:
    chunked = b"transfer-encoding: chunked\r\n"
    for name, body in (
        ("leading zeros", b"0005\r\nhello\r\n000\r\n\r\n"),
        ("extensions", b'5;a=b;c="d"\r\nhello\r\n0;z\r\n\r\n'),
        ("trailers", b"5\r\nhello\r\n0\r\nx-t: 1\r\ncontent-length: 9\r\n\r\n"),
        ("several", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ("capital digits", b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n"),
        ("a space behind the size", b"5 \r\nhello\r\n0\r\n\r\n"),
    ):
        yield taken(f"chunks: {name}", post(chunked, body))
    for name, body in (
        ("0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("minus", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("plus", b"+5\r\nhello\r\n0\r\n\r\n"),
        ("no size", b"\r\nhello\r\n0\r\n\r\n"),
        ("letters", b"zz\r\nhello\r\n0\r\n\r\n"),
        ("underscore", b"1_0\r\nhello\r\n0\r\n\r\n"),
        ("overflow", b"f" * 16 + b"1\r\nhello\r\n0\r\n\r\n"),
        ("a space before the size", b" 5\r\nhello\r\n0\r\n\r\n"),
        ("bare feeds", b"5\nhello\n0\n\n"),
        ("a bare feed behind an extension", b"5;a\nhello\r\n0\r\n\r\n"),
        ("a control in an extension", b"5;a\x00b\r\nhello\r\n0\r\n\r\n"),
        ("no line end behind the data", b"5\r\nhello0\r\n\r\n"),
        ("more data than the size", b"3\r\nhello\r\n0\r\n\r\n"),
        ("a bare feed behind the data", b"5\r\nhello\n0\r\n\r\n"),
        ("a size line without end", b"5;" + b"a" * 20_000),
    ):
        yield broken(name, body)


def _lines() -> Iterator[Case]:
    yield taken("any method token", get(b"/up", method=b"get"), b"", status=405)
    yield taken("a long method", get(b"/up", method=b"G" * 5000), b"", status=405)
    yield taken("line ends before the request line", b"\r\n\r\n" + get(b"/next"), b"", h11=NO_LEADING)
    yield taken("no host", get(b"/next", b""), b"", h11=NO_HOST)
    yield taken("an odd host", get(b"/next", b"host: a b/c@d\r\n"), b"")
    yield taken("absolute form", get(b"http://other.example/next?a=1"), b"")
    yield taken("absolute form of another scheme", get(b"ftp://other.example/next"), b"")
    yield taken("a fragment", get(b"/next#frag"), b"")
    yield taken("asterisk form", get(b"*"), b"", status=404)
    yield taken("authority form", get(b"h:80"), b"", status=404)
    yield taken("CONNECT", get(b"h:80", method=b"CONNECT"), b"", status=404)
    yield taken(
        "CONNECT with a body",
        get(b"h:80", b"host: h\r\ncontent-length: 5\r\n", method=b"CONNECT") + b"hello",
        status=404,
    )
    yield taken("raw UTF-8 in the target", get("/é".encode()), b"", status=404, h11=UTF8_TARGET)
    yield taken("odd characters in the path", get(b'/{a}"|^~;'), b"", status=404)
    yield taken(
        "upgrade with a body", post(b"connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n", b"hello")
    )
    yield taken(
        "upgrade to h2c", get(b"/next", b"host: h\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n"), b""
    )
    yield taken("a value of 40 KB", get(b"/next", b"host: h\r\nx: " + b"a" * 40_000 + b"\r\n"), b"")
    yield taken("100 fields", get(b"/next", b"host: h\r\n" + b"x: 1\r\n" * 99), b"")
    yield taken("a target of 65534 bytes", get(b"/next?" + b"a" * 65_528), b"")


def _bad_lines() -> Iterator[Case]:
    for name, sent in (
        ("rubbish", b"garbage\r\n\r\n"),
        ("HTTP/0.9", b"GET /next\r\n\r\n"),
        ("version 0.9", get(b"/next", version=b"HTTP/0.9")),
        ("version 1.2", get(b"/next", version=b"HTTP/1.2")),
        ("version 2.0", get(b"/next", version=b"HTTP/2.0")),
        ("version 1.10", get(b"/next", version=b"HTTP/1.10")),
        ("a lower-case version", get(b"/next", version=b"http/1.1")),
        ("two spaces", b"GET  /next HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("TABs", b"GET\t/next\tHTTP/1.1\r\nhost: h\r\n\r\n"),
        ("a leading space", b" GET /next HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("a space in the target", get(b"/next x")),
        ("a space behind the version", get(b"/next", version=b"HTTP/1.1 ")),
        ("a control in the method", get(b"/next", method=b"G\x01T")),
        ("a quote in the method", get(b"/next", method=b'G"T')),
        ("no method", b" /next HTTP/1.1\r\nhost: h\r\n\r\n"),
        ("a relative target", get(b"next/x")),
        ("NUL in the target", get(b"/next\x00")),
        ("DEL in the target", get(b"/next\x7f")),
        ("Latin-1 in the target", get(b"/next\xe9")),
        ("Latin-1 in the query", get(b"/next?\xe9")),
        ("angles in the path", get(b"/next<a>")),
        ("a backtick in the path", get(b"/next`")),
        ("quotes in the query", get(b'/next?"')),
        ("two hosts", get(b"/next", b"host: a\r\nhost: b\r\n")),
        ("no colon", get(b"/next", b"host: h\r\nnocolon\r\n")),
        ("no name", get(b"/next", b"host: h\r\n: x\r\n")),
        ("a space in a name", get(b"/next", b"host: h\r\nx y: 1\r\n")),
        ("a name that is not ASCII", get(b"/next", b"host: h\r\nx\xe9: 1\r\n")),
        ("a folded first line", get(b"/next", b" x: 1\r\nhost: h\r\n")),
        ("a folded line", get(b"/next", b"host: h\r\nx: 1\r\n y\r\n")),
        ("NUL in a value", get(b"/next", b"host: h\r\nx: \x00\r\n")),
        ("DEL in a value", get(b"/next", b"host: h\r\nx: \x7f\r\n")),
        ("ESC in a value", get(b"/next", b"host: h\r\nx: \x1b\r\n")),
        ("a bare return in a value", get(b"/next", b"host: h\r\nx: a\rb\r\n")),
        ("a bare return at the end of a value", get(b"/next", b"host: h\r\nx: a\r\r\n")),
        ("bare feeds only", b"GET /next HTTP/1.1\nhost: h\n\n"),
        ("one bare feed", b"GET /next HTTP/1.1\r\nhost: h\nx: 1\r\n\r\n"),
        ("a bare feed as empty line", b"GET /next HTTP/1.1\r\nhost: h\r\n\n"),
        ("bare returns only", b"GET /next HTTP/1.1\rhost: h\r\r"),
        ("a TLS hello", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03" + b"\x00" * 40),
    ):
        yield refused(name, sent)
    yield refused("101 fields", get(b"/next", b"host: h\r\n" + b"x: 1\r\n" * 100), 431)
    yield refused("a head of 2 MB", get(b"/next", b"host: h\r\nx: " + b"a" * 2_000_000 + b"\r\n"), 431)
    yield refused("a target of 65535 bytes", get(b"/next?" + b"a" * 65_529), 414)
    yield refused("a target of 70000 bytes", get(b"/" + b"a" * 70_000), 414)
    yield Case("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), 0)


CASES = (*_lengths(), *_codings(), *_chunks(), *_lines(), *_bad_lines())
