"""What an export is measured on: sentences of the workdir's validation split."""

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import is_finished, read_dataset
from emnat_jax.data.pairs import make_pairs
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import require
from emnat_jax.export.parity import Sample


def export_sample(work: Workspace, count: int) -> Sample:
    """The first `count` pairs of the validation split, or of the training set where there is none."""
    directory = work.directory / paths.split("valid")
    if not is_finished(directory):
        directory = work.directory / paths.TRAIN
    rows = [row for _, row in zip(range(count), read_dataset(directory), strict=False)]
    require(bool(rows), f"{directory} has no rows to compare on.")
    return Sample(make_pairs(rows), [row.target_text for row in rows])
