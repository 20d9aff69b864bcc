"""Exports of an open workdir's models, compared on sentences of its validation split."""

from collections.abc import Callable

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import is_finished
from emnat_jax.data.pairs import make_pairs
from emnat_jax.em.shortlist import make_shortlist
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import require
from emnat_jax.export.folder import About
from emnat_jax.export.make import Job, check_shortlist, export_model
from emnat_jax.export.parity import Sample
from emnat_jax.export.shortlist import require_words
from emnat_jax.inference.model import TrainedModel

SENTENCES = 1_000  # that are compared


def make_export(
    work: Workspace,
    model: TrainedModel,
    directory: epath.PathLike,
    format: str | None = None,
    *,
    sentences: int = SENTENCES,
    shortlist: int | None = None,
    log: Callable[[str], None],
) -> About:
    """As `export_model`, compared on the first `sentences` of the workdir.

    `shortlist`: words for each word of the source (export/shortlist.py), where int8 is to have a shortlist.
    """
    if shortlist is not None:
        require_words(shortlist, model.vocabulary.size)
        check_shortlist(model, work.config.data.buckets, directory, format)
    sample, listed = export_sample(work, sentences), None
    if shortlist is not None:
        listed, learned_from = make_shortlist(work, model, shortlist)
        log(f"a shortlist of {shortlist}, learned from {', '.join(learned_from)}")
    job = Job(
        model=model,
        buckets=work.config.data.buckets,
        sample=sample,
        scoring=work.config.scoring,
        seed=work.config.seed,
        log=log,
        shortlist=listed,
    )
    return export_model(job, directory, format)


def export_sample(work: Workspace, count: int) -> Sample:
    """The first `count` pairs of the validation split, or of the training set where there is none."""
    directory = work.directory / paths.split("valid")
    if not is_finished(directory):
        directory = work.directory / paths.TRAIN
    rows = [row for _, row in zip(range(count), read_dataset(directory), strict=False)]
    require(bool(rows), f"{directory} has no rows to compare on.")
    return Sample(make_pairs(rows), [row.target_text for row in rows])
