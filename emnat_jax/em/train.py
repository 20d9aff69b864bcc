"""Train one model of a workdir on one data set: the stage, and the body of `emnat train`."""

import functools

from etils import epath

from emnat_jax.config import ModelConfig, TrainConfig
from emnat_jax.data.manifest import Manifest, is_finished, load_manifest
from emnat_jax.data.pipeline import BatchStream, load_pairs, sequential_batches
from emnat_jax.em.workspace import Model, Workspace
from emnat_jax.families.parameters import encoder_params
from emnat_jax.models.flops import training_flops
from emnat_jax.training.loop import fit
from emnat_jax.training.mesh import row_multiple
from emnat_jax.training.trained import finish_model
from emnat_jax.types import Batch, Params


def train_model(
    work: Workspace,
    model: ModelConfig,
    train: TrainConfig,
    *,
    data: epath.PathLike,
    output: epath.PathLike,
    seed: int,
    start: epath.PathLike | None = None,
    label: str,
) -> Manifest:
    """Trains `model` (resolved) on the first target of each row, or goes on where a run stopped.

    `start` is a finished model that a fresh run begins with: all its weights where it is of the same family,
    else its embeddings and encoder. Raises UserError where their shapes differ.
    """
    source = load_manifest(data, expect={"vocabulary": work.vocabulary.fingerprint})
    pairs = load_pairs(data, source)
    multiple = row_multiple(work.mesh)
    stream = BatchStream(pairs, work.config.data, seed=seed, row_multiple=multiple * train.accumulate)
    initial = work.load(start) if start is not None else None
    system = work.system(model)
    result = fit(
        system.family,
        stream,
        config=train,
        mesh=work.mesh,
        seed=seed,
        directory=output,
        valid_batches=_valid_batches(work),
        initial_params=_taken_over(initial, model) if initial else None,
        flops=functools.partial(_batch_flops, model),
        log=work.log,
        label=label,
    )
    fingerprints = {"vocabulary": work.vocabulary.fingerprint, "source": source.content_hash}
    if initial:
        fingerprints["start"] = initial.fingerprint
    return finish_model(
        output, result, model=model, train=train, rows=pairs.size, fingerprints=fingerprints, seed=seed
    )


def _taken_over(start: Model, model: ModelConfig) -> Params:
    """The weights that a run on `model` begins with, out of those of a finished one."""
    return start.params if start.system.model.family == model.family else encoder_params(start.params)


def _valid_batches(work: Workspace):
    """The valid split in order, or None where the workdir has none."""
    directory = work.directory / "data" / "valid"
    if not is_finished(directory):
        return None
    pairs, data = load_pairs(directory), work.config.data
    return lambda: sequential_batches(
        pairs, data.buckets, data.decode_rows, row_multiple=row_multiple(work.mesh)
    )


def _batch_flops(model: ModelConfig, batch: Batch) -> float:
    return training_flops(model, len(batch.weight), batch.source.shape[1], batch.target.shape[1])
