"""JSON objects with a checksum of their own, so that a changed digit is no other result."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

CHECKSUM = "checksum"


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with their checksum; TypeError for what JSON does not hold."""
    return {**values, CHECKSUM: digest(values)}


def unseal(sealed: Any) -> dict[str, Any]:
    """The values that `seal` was given, as JSON gives them back; ValueError where they are others."""
    if not isinstance(sealed, dict):
        raise ValueError("it is not an object")
    values = {name: value for name, value in sealed.items() if name != CHECKSUM}
    if sealed.get(CHECKSUM) != digest(values):
        raise ValueError("it was changed after it was written: its checksum is another")
    return values


def digest(values: Any) -> str:
    """SHA-256 over values that JSON holds, whatever the order of their names."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
