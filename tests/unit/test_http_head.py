"""Which request heads are taken, against http.md 13."""

import pytest
import trio

from iii_trio.modules.http.head import is_strict, refusal, split_target
from iii_trio.modules.http.seam import BodyLimitError, Request, ServerLimits

LIMITS = ServerLimits()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/a?b=1", (b"/a", b"b=1")),
        (b"/a", (b"/a", b"")),
        (b"/a?b?c", (b"/a", b"b?c")),
        (b"/a%2Fb", (b"/a%2Fb", b"")),
        (b"http://h.example:1/p?q", (b"/p", b"q")),
        (b"ftp://h", (b"/", b"")),
        (b"http://h?q/x", (b"/", b"q/x")),
        (b"/a#frag?x", (b"/a", b"")),
        (b"*", (b"*", b"")),
        (b"h.example:443", (b"h.example:443", b"")),
        (b"//a//b", (b"//a//b", b"")),
    ],
)
def test_a_target_is_split_and_not_decoded(target: bytes, expected: tuple[bytes, bytes]) -> None:
    assert split_target(target) == expected


@pytest.mark.parametrize(
    ("target", "version", "headers", "expected"),
    [
        (b"/", b"1.1", [(b"host", b"h")], None),
        (b'/{a}"|^~;', b"1.1", [], None),
        (b"/", b"1.0", [(b"content-length", b"0005")], None),
        (b"/", b"1.1", [(b"content-length", b"5"), (b"content-length", b"5")], None),
        (b"/", b"1.1", [(b"x", "é\t ".encode())], None),
        (b"/" + b"a" * 65_533, b"1.1", [], None),
        (b"/" + b"a" * 65_534, b"1.1", [], 414),  # http 84
        (b"/", b"1.1", [(b"x", b"1")] * 100, None),
        (b"/", b"1.1", [(b"x", b"1")] * 101, 431),  # http 84
        (b"/", b"2.0", [], 400),
        (b"/<", b"1.1", [], 400),
        (b"/`", b"1.1", [], 400),
        (b"/?a=<", b"1.1", [], 400),
        (b'/?a="', b"1.1", [], 400),
        (b"a/b", b"1.1", [], 400),
        (b"/", b"1.1", [(b"content-length", b"5"), (b"content-length", b"6")], 400),  # http 87
        (b"/", b"1.1", [(b"content-length", b"5, 5")], 400),
        (b"/", b"1.1", [(b"content-length", b"+5")], 400),
        (b"/", b"1.1", [(b"content-length", b"0x5")], 400),
        (b"/", b"1.1", [(b"content-length", b"")], 400),
        (b"/", b"1.1", [(b"content-length", b"18446744073709551616")], 400),
        (b"/", b"1.1", [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], 400),  # D-25
        (b"/", b"1.0", [(b"transfer-encoding", b"chunked")], 400),
        (b"/", b"1.1", [(b"x", b"a\x01")], 400),
        (b"/", b"1.1", [(b"x", b"a\x7f")], 400),
    ],
)
def test_heads_that_are_refused(
    target: bytes, version: bytes, headers: list[tuple[bytes, bytes]], expected: int | None
) -> None:
    assert refusal(target, version, headers, LIMITS) == expected


def upload(*pieces: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Request:
    rest = iter(pieces)

    async def receive() -> bytes:
        await trio.lowlevel.checkpoint()
        return next(rest, b"")

    return Request("POST", b"/", b"", headers, receive)


async def test_a_body_is_read_whole_or_refused() -> None:
    assert await upload(b"ab", b"c").read_body(3) == b"abc"
    assert await upload(b"abc").read_body(3) == b"abc"
    assert await upload().read_body(0) == b""
    with pytest.raises(BodyLimitError) as caught:
        await upload(b"ab", b"cd", b"never").read_body(3)
    assert caught.value.limit == 3


async def test_an_announced_size_beyond_the_limit_fails_before_reading() -> None:
    async def receive() -> bytes:
        await trio.lowlevel.checkpoint()
        raise AssertionError("read")

    request = Request("POST", b"/", b"", [(b"content-length", b"4")], receive)
    with pytest.raises(BodyLimitError):
        await request.read_body(3)


@pytest.mark.parametrize(
    ("raw", "strict"),
    [
        (b"GET / HTTP/1.1\r\nhost: h\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nhost: h\r\nx: 1, 2\r\n\r\n a body\nwith\n\n anything, content-length: 5, 5", True),
        (b"GET / HTTP/1.1\nhost: h\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nhost: h\n\r\n", False),
        (b"GET / HTTP/1.1\r\nhost: h\r\n\n", False),
        (b"GET / HTTP/1.1\r\nhost: h\n\n", False),
        (b"GET / HTTP/1.1\r\nx: a\r\n\tb\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nCONTENT-length:5,5\r\n\r\n", False),
    ],
)
def test_heads_that_can_be_read_in_two_ways(raw: bytes, strict: bool) -> None:
    assert is_strict(raw) is strict
