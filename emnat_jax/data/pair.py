"""A sentence pair as its corpus has it."""

import dataclasses


@dataclasses.dataclass
class Pair:
    """Raw text of one line, nothing changed but the line end taken off."""

    line: int  # 0-based
    source: str
    target: str
