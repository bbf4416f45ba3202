"""The pieces of a SentencePiece model, read from its bytes alone."""

_PIECES = 1
"""Field of the model's message that holds a piece; of the piece's message, that holds its text."""
MOST_PIECES = 400_000


def pieces_of(data: bytes) -> frozenset[str]:
    """The texts of all pieces; empty where the bytes are no such model."""
    found: set[str] = set()
    for number, value in _fields(data):
        if number == _PIECES and len(found) < MOST_PIECES:
            text = next((part for inner, part in _fields(value) if inner == 1), b"")
            try:
                found.add(text.decode("utf-8"))
            except UnicodeDecodeError:
                return frozenset()
    return frozenset(found)


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """Number and bytes of every field with a length; empty where the bytes are no message of protocol buffers."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 2:
            size, at = _varint(data, at)
            if at < 0 or at + size > len(data):
                return []
            found.append((key >> 3, data[at : at + size]))
            at += size
        elif wire == 0:
            _, at = _varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            return []
        if at < 0 or at > len(data):
            return []
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; -1 where it does not."""
    value = 0
    for shift in range(0, 64, 7):
        if at < 0 or at >= len(data):
            return 0, -1
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return 0, -1
