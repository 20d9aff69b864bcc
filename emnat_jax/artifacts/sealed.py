"""JSON objects with a checksum of their own, so that a changed digit is no other result."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

CHECKSUM = "checksum"


def seal(values: Mapping[str, Any], free: Collection[str] = ()) -> dict[str, Any]:
    """The values with their checksum, which leaves out those of `free`.

    TypeError for what JSON does not hold.
    """
    return {**values, CHECKSUM: digest(_without(values, free))}


def unseal(sealed: Any, free: Collection[str] = ()) -> dict[str, Any]:
    """The values that `seal` was given, as JSON gives them back; ValueError where they are others."""
    if not isinstance(sealed, dict):
        raise ValueError("it is not an object")
    values = _without(sealed, (CHECKSUM,))
    if sealed.get(CHECKSUM) != digest(_without(values, free)):
        raise ValueError("it was changed after it was written, its checksum is another")
    return values


def unseal_if_sealed(values: Any) -> Any:
    """As `unseal`, of a file whose kind had no checksum before: one without is given back as it is."""
    return unseal(values) if isinstance(values, dict) and CHECKSUM in values else values


def _without(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def digest(values: Any) -> str:
    """SHA-256 over values that JSON holds, whatever the order of their names."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
