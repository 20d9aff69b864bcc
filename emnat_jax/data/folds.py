"""Folds of a corpus: parts of its lines, each of which a student of its own does not learn from."""

import dataclasses
from collections.abc import Iterable, Iterator

from emnat_jax.artifacts.records import Row
from emnat_jax.errors import require
from emnat_jax.runtime.progress import Log


@dataclasses.dataclass(frozen=True)
class Fold:
    """The lines of a corpus whose number, from 0, is `index` modulo `count`."""

    index: int
    count: int

    def __contains__(self, row: Row) -> bool:
        return row.row % self.count == self.index


def without(rows: Iterable[Row], fold: Fold, log: Log) -> Iterator[Row]:
    """The rows that are not in the fold; `log` says in the end how many are.

    UserError in the end where the fold holds none of them or all.
    """
    kept = left_out = 0
    for row in rows:
        if row in fold:
            left_out += 1
        else:
            kept += 1
            yield row
    require(
        kept > 0 and left_out > 0,
        f"em.folds={fold.count}: {left_out} of {kept + left_out} rows to learn from are in fold "
        f"{fold.index}; some must be, and some outside it: use fewer folds, or a larger corpus.",
    )
    log(f"{left_out} rows, fold {fold.index} of {fold.count}, are left out")
