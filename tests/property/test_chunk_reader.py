"""A chunked body means the same however the network cuts it, and nothing but its framing ends it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.modules.http.chunks import BrokenBody, ChunkReader

_SIZES = st.sampled_from(["%x", "%X", "0%x", "%x ", "%x;a=b", '%x;q="1"'])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body and one way to send it in chunks."""
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    chunks = [(draw(_SIZES) % len(piece)).encode() + b"\r\n" + piece + b"\r\n" for piece in pieces]
    trailer = draw(st.sampled_from([b"\r\n", b"x-t: 1\r\n\r\n", b"a: b\r\ncontent-length: 9\r\n\r\n"]))
    return b"".join(pieces), b"".join(chunks) + b"0\r\n" + trailer


def read(data: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool]:
    """Feed `data` in pieces: the body, what is left over, and whether the body ended."""
    reader, body, rest, at = ChunkReader(), b"", b"", 0
    for cut in [*sorted(cuts), len(data)]:
        if reader.is_done:
            break
        piece, rest = reader.feed(rest + data[at:cut])
        body, at = body + piece, cut
    return body, rest + data[at:], reader.is_done


@given(bodies(), st.binary(max_size=30), st.lists(st.integers(0, 300), max_size=20))
def test_any_cut_gives_the_same_body(body: tuple[bytes, bytes], behind: bytes, cuts: list[int]) -> None:
    plain, sent = body
    data = sent + behind
    assert read(data, [cut for cut in cuts if cut <= len(data)]) == (plain, behind, True)


@given(bodies(), st.data())
def test_a_body_that_ends_early_is_not_over(body: tuple[bytes, bytes], data: st.DataObject) -> None:
    plain, sent = body
    cut = data.draw(st.integers(0, len(sent) - 1))
    found, _, is_done = read(sent[:cut], [])
    assert not is_done
    assert plain.startswith(found)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=10))
def test_rubbish_breaks_alike_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    def outcome(cuts: list[int]) -> object:
        try:
            return read(data, cuts)
        except BrokenBody:
            return BrokenBody

    whole, cut = outcome([]), outcome([cut for cut in cuts if cut <= len(data)])
    assert whole == cut


@pytest.mark.parametrize("data", [b"5" * 5000, b"5;" + b"a" * 5000, b"0\r\n" + b"a: b\r\n" * 2000, b"1\r\nab"])
def test_what_can_never_be_good_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(BrokenBody):
        ChunkReader().feed(data)
