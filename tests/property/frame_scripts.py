"""What a WebSocket client may say: messages, fragments, control frames, written by `websockets`' own client side."""

import attrs
from hypothesis import strategies as st
from websockets.protocol import OPEN, Protocol, Side

SIZES = st.one_of(st.integers(0, 8), st.sampled_from([125, 126, 127, 400, 16_500, 65_535, 65_536, 70_000]))
Said = tuple[str, bytes]
"""`text`, `binary`, `ping` or `pong`, and its content."""


@attrs.frozen
class Item:
    """One message in fragments, with control frames before its last ones; or one control frame."""

    kind: str
    content: bytes
    cuts: tuple[int, ...] = ()
    between: bytes | None = None


def _text(size: int, letter: str) -> bytes:
    return (letter * size).encode()[:size].decode(errors="ignore").encode()


TEXTS = st.builds(_text, SIZES, st.sampled_from(["a", "ä", "€", "\N{ROCKET}"]))
BINARIES = st.builds(lambda size, byte: bytes([byte]) * size, SIZES, st.integers(0, 255))
CUTS = st.lists(st.integers(0, 70_000), max_size=3).map(tuple)
CONTROL = st.binary(max_size=125)
ITEMS = st.one_of(
    st.builds(Item, st.just("text"), TEXTS),
    st.builds(Item, st.just("text"), TEXTS, CUTS, st.one_of(st.none(), CONTROL)),
    st.builds(Item, st.just("binary"), BINARIES, CUTS, st.one_of(st.none(), CONTROL)),
    st.builds(Item, st.sampled_from(["ping", "pong"]), CONTROL),
)
SCRIPTS = st.lists(ITEMS, max_size=12)


def write(script: list[Item]) -> bytes:
    """The bytes of a client that says all this."""
    client = Protocol(Side.CLIENT, state=OPEN)
    for item in script:
        if item.kind in ("ping", "pong"):
            getattr(client, f"send_{item.kind}")(item.content)
        else:
            _write_message(client, item)
    return b"".join(client.data_to_send())


def _write_message(client: Protocol, item: Item) -> None:
    edges = sorted({min(cut, len(item.content)) for cut in item.cuts})
    parts = [item.content[start:end] for start, end in zip([0, *edges], [*edges, None], strict=True)]
    for number, part in enumerate(parts):
        send = client.send_continuation if number else getattr(client, f"send_{item.kind}")
        send(part, fin=number == len(parts) - 1)
        if item.between is not None and number < len(parts) - 1:
            client.send_ping(item.between)


def messages(script: list[Item]) -> list[Said]:
    """What the engine must hear of it."""
    return [(item.kind, item.content) for item in script if item.kind in ("text", "binary")]


def pings(script: list[Item]) -> list[bytes]:
    """What must be answered, in order."""
    asked = []
    for item in script:
        if item.kind == "ping":
            asked.append(item.content)
        elif item.kind != "pong" and item.between is not None:
            edges = {min(cut, len(item.content)) for cut in item.cuts}
            asked.extend([item.between] * len(edges))
    return asked


def said(message: bytes | memoryview) -> Said:
    """A message as the engine gives it: text is bytes, binary a memoryview."""
    return ("text" if isinstance(message, bytes) else "binary", bytes(message))


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces, none empty."""
    edges = sorted({place % len(stream) for place in places} - {0}) if stream else []
    pieces = [stream[start:end] for start, end in zip([0, *edges], [*edges, len(stream)], strict=True)]
    return [piece for piece in pieces if piece]
