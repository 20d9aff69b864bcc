"""Train one model of a workdir on one data set: the stage, and the body of `emnat train`."""

import functools

from etils import epath

from emnat_jax.artifacts.manifest import Manifest, is_finished, load_manifest, read_dataset
from emnat_jax.artifacts.records import overlay
from emnat_jax.config import ModelSpec, TrainConfig
from emnat_jax.data.pipeline import (
    BatchStream,
    Pairs,
    load_pairs,
    make_groups,
    make_pairs,
    sequential_batches,
)
from emnat_jax.em.workdir import Workspace
from emnat_jax.families import in_loss_family
from emnat_jax.families.parameters import encoder_params
from emnat_jax.inference.model import TrainedModel
from emnat_jax.models.flops import training_flops
from emnat_jax.runtime.mesh import local_rows, require_rows_divide, row_shares
from emnat_jax.training.loop import Run, fit
from emnat_jax.training.manifest import finish_model
from emnat_jax.types import Batch, Params


def train_model(
    work: Workspace,
    model: ModelSpec,
    train: TrainConfig,
    *,
    data: epath.PathLike,
    output: epath.PathLike,
    seed: int,
    base: epath.PathLike | None = None,
    start: epath.PathLike | None = None,
    targets: int = 1,
    label: str,
) -> Manifest:
    """Trains `model` on the first target of each row, or goes on where a run stopped.

    With `targets` > 1 a student learns from so many of each row, the E-step inside its loss.

    Rows that `data` does not have come from the set `base`, where one is given.
    `start` is a finished model that a fresh run begins with: all its weights where it is of the same family,
    else its embeddings and encoder. Raises UserError where their shapes differ.
    """
    pairs, fingerprints = _training_pairs(work, data, base, targets)
    initial = work.load(start) if start is not None else None
    if initial:
        fingerprints["start"] = initial.fingerprint
    run = Run(
        family=work.compiled(model).family if targets == 1 else in_loss_family(model, targets, train.steps),
        stream=make_stream(work, pairs, train, seed, targets),
        config=train,
        layout=work.layout,
        seed=seed,
        directory=output,
        valid_batches=_valid_batches(work),
        initial_params=_taken_over(initial, model) if initial else None,
        flops=functools.partial(_batch_flops, model, targets),
        processes=work.processes,
        log=work.log,
        label=label,
    )
    result, rows = fit(run), pairs.size // targets
    about = {"model": model, "train": train, "rows": rows, "fingerprints": fingerprints, "seed": seed}
    work.processes.broadcast(f"{label}: manifest", lambda: finish_model(output, result, **about))
    return load_manifest(output)


def _training_pairs(
    work: Workspace, data: epath.PathLike, base: epath.PathLike | None, targets: int
) -> tuple[Pairs, dict[str, str]]:
    """The rows of `data`, and of `base` those that it does not have; fingerprints of what they are."""
    made_of = {"vocabulary": work.vocabulary.fingerprint}
    sets = {"source": data} | ({"base": base} if base else {})
    manifests = {name: load_manifest(directory, expect=made_of) for name, directory in sets.items()}
    rows = overlay(*(read_dataset(sets[name], manifests[name]) for name in sets))
    pairs = make_pairs(rows) if targets == 1 else make_groups(rows, targets, work.config.em.prior_beta)
    return pairs, made_of | {name: manifest.content_hash for name, manifest in manifests.items()}


def make_stream(work: Workspace, pairs: Pairs, train: TrainConfig, seed: int, targets: int) -> BatchStream:
    """Endless batches of this process's rows. UserError where they cannot be shared out over the devices."""
    require_rows_divide(work.layout, work.config.data.row_multiple, train.accumulate)
    local = functools.partial(local_rows, work.layout, accumulate=train.accumulate)
    data = work.config.data.with_batch(train.batch_tokens)
    return BatchStream(pairs, data, seed=seed, local=local, targets_per_source=targets)


def _taken_over(start: TrainedModel, model: ModelSpec) -> Params:
    """The weights that a run on `model` begins with, out of those of a finished one."""
    return start.params if start.config.family == model.family else encoder_params(start.params)


def _valid_batches(work: Workspace):
    """The valid split in order, or None where the workdir has none."""
    directory = work.directory / "data" / "valid"
    if not is_finished(directory):
        return None
    pairs, data = load_pairs(directory), work.config.data
    rows, local = data.decode_rows * row_shares(work.layout), functools.partial(local_rows, work.layout)
    return lambda: sequential_batches(pairs, data.buckets, rows, local=local)


def _batch_flops(model: ModelSpec, targets: int, batch: Batch) -> float:
    rows, width = batch.target.shape
    return training_flops(model, rows, batch.source.shape[1], width, targets_per_source=targets)
