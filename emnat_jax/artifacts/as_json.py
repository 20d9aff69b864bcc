"""Values as they come back from a JSON file."""

import json
from typing import Any


def as_json(values: dict[str, Any]) -> dict[str, Any]:
    """A copy as it will be read: tuples become lists, keys text. TypeError for what JSON does not hold."""
    return json.loads(json.dumps(values))
