"""The folder of a finished model: checkpoints and, written last, a manifest that says what it is."""

import dataclasses
from typing import Any

from etils import epath

from emnat_jax.artifacts.manifest import Manifest, load_manifest, utc_now, write_manifest
from emnat_jax.config import ModelConfig, TrainConfig
from emnat_jax.config.convert import from_dict
from emnat_jax.training.loop import FitResult


def finish_model(
    directory: epath.PathLike,
    result: FitResult,
    *,
    model: ModelConfig,
    train: TrainConfig,
    rows: int,
    fingerprints: dict[str, str],
    seed: int,
) -> None:
    """Declares a model finished. `rows` are those it was trained on; `model` must be resolved."""
    options: dict[str, Any] = {
        "model": dataclasses.asdict(model),
        "train": dataclasses.asdict(train),
        "step": result.step,
        "valid_loss": result.valid_loss,
    }
    manifest = Manifest(
        kind="model", content_hash=result.fingerprint, rows_in=rows, rows_out=rows, dropped={}, shards=[],
        fingerprints=fingerprints, options=options, seed=seed, created=utc_now(),
    )  # fmt: skip
    write_manifest(directory, manifest)


def load_model_manifest(directory: epath.PathLike, vocabulary: str) -> tuple[Manifest, ModelConfig]:
    """Manifest and configuration of a finished model.

    Raises UserError when it is unfinished or was trained with another vocabulary.
    """
    manifest = load_manifest(directory, expect={"vocabulary": vocabulary})
    return manifest, from_dict(manifest.options["model"], ModelConfig, "model.")
