"""How an input becomes the bytes of a connection."""


def pieces_of(data: bytes) -> tuple[bytes, list[bytes]]:
    """An input as the bytes of a connection, and as the pieces in which they come: its first bytes say where it is cut."""
    count = data[0] % 8 if data else 0
    cuts, stream = data[1 : 1 + 2 * count], data[1 + 2 * count :]
    places = {int.from_bytes(cuts[at : at + 2], "big") % (len(stream) + 1) for at in range(0, len(cuts) - 1, 2)}
    edges = sorted(places - {0, len(stream)})
    pieces = [stream[start:end] for start, end in zip([0, *edges], [*edges, len(stream)], strict=True)]
    return stream, [piece for piece in pieces if piece]
