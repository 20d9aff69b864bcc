"""Which of many cases the normal suite runs; the slow one runs the rest."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def quick(cases: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """The cases for `parametrize`; those that are not `kept` are slow."""
    return [case if case in kept else _slow(case) for case in cases]


def _slow(case: Any) -> Any:
    """A case of several values is a tuple."""
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
