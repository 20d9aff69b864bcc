"""hypothesis strategies: files as a careless or hostile hand leaves them."""

import json
from collections.abc import Callable

from hypothesis import strategies as st

from emnat_jax.artifacts.sealed import CHECKSUM, seal

ODD_VALUES = (
    None, True, 0, -1, 2**31, 2**64, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "x", "../..", "\0",
    "\ud800", "ü" * 50, [], {}, [[]], [None], {"": None}, {"a": {"b": []}}, ["x"] * 20,
)  # fmt: skip
DEEP = b"[" * 20_000, b'{"a":' * 20_000, b"[" * 3_000 + b"]" * 3_000
NAMES = st.sampled_from(("", "a", "name", "sha256", CHECKSUM))


@st.composite
def edited(draw, data: bytes) -> bytes:
    """Up to four bytes or stretches of bytes changed, put in, taken out; or the end cut off."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(found) - 1, 0)))
        length = draw(st.sampled_from((0, 1, 1, 2, 8, 64)))
        found[place : place + length] = draw(st.binary(max_size=9))
    return bytes(found[: draw(st.integers(0, len(found)))] if draw(st.integers(0, 4)) == 0 else found)


@st.composite
def odd_json(draw, values: object) -> object:
    """One value inside replaced by an odd one, removed, or joined by another."""
    if not isinstance(values, dict | list) or not values or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(ODD_VALUES))
    items = dict(values) if isinstance(values, dict) else dict(enumerate(values))
    key = draw(st.sampled_from(sorted(items, key=str)))
    match draw(st.integers(0, 6)):
        case 0:
            del items[key]
        case 1:
            items[draw(NAMES) if isinstance(values, dict) else len(items)] = draw(st.sampled_from(ODD_VALUES))
        case _:
            items[key] = draw(odd_json(items[key]))
    return items if isinstance(values, dict) else list(items.values())


def spoiled_bytes(data: bytes) -> st.SearchStrategy[bytes]:
    """Of any file: other bytes, and edits of its own."""
    return st.one_of(st.binary(max_size=300), edited(data))


def spoiled_json(data: bytes, free: tuple[str, ...] = ()) -> st.SearchStrategy[bytes]:
    """Of a JSON object, with a checksum that fits where it has one: also odd values, and deep ones."""
    values = json.loads(data)
    return st.one_of(spoiled_bytes(data), st.sampled_from(DEEP), odd_json(values).map(_written(free)))


def spoiled_lines(data: bytes) -> st.SearchStrategy[bytes]:
    """Of a file of JSON objects, one a line."""
    lines = data.splitlines()

    def replaced(place: int) -> st.SearchStrategy[bytes]:
        others = spoiled_json(lines[place])
        return others.map(lambda line: b"\n".join([*lines[:place], line, *lines[place + 1 :], b""]))

    return st.integers(0, len(lines) - 1).flatmap(replaced)


def _written(free: tuple[str, ...]) -> Callable[[object], bytes]:
    def write(values: object) -> bytes:
        if isinstance(values, dict) and CHECKSUM in values:
            values = seal({name: value for name, value in values.items() if name != CHECKSUM}, free)
        return json.dumps(values).encode()

    return write
