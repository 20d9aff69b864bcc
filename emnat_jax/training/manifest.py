"""The folder of a finished model: checkpoints and, written last, a manifest that says what it is."""

from typing import Any

from etils import epath

from emnat_jax.artifacts.manifest import MODEL, Manifest, load_manifest, utc_now, write_manifest
from emnat_jax.config import ModelSpec, TrainConfig
from emnat_jax.config.convert import from_dict, to_dict
from emnat_jax.training.loop import FitResult


def finish_model(
    directory: epath.PathLike,
    result: FitResult,
    *,
    model: ModelSpec,
    train: TrainConfig,
    rows: int,
    fingerprints: dict[str, str],
    seed: int,
) -> None:
    """Writes the manifest, which declares the model finished. `rows` is the number it was trained on."""
    options: dict[str, Any] = {
        "model": to_dict(model),
        "train": to_dict(train),
        "step": result.step,
        "valid_loss": result.valid_loss,
        "chosen": result.chosen and result.chosen._asdict(),
    }
    manifest = Manifest(
        kind="model",
        content_hash=result.fingerprint,
        rows_in=rows,
        rows_out=rows,
        dropped={},
        shards=[],
        fingerprints=fingerprints,
        options=options,
        seed=seed,
        created=utc_now(),
    )
    write_manifest(directory, manifest)


def load_model_manifest(directory: epath.PathLike, vocabulary: str) -> tuple[Manifest, ModelSpec]:
    """Manifest and resolved configuration of a finished model.

    Raises UserError when it is unfinished or was trained with another vocabulary.
    """
    manifest = load_manifest(directory, expect={"vocabulary": vocabulary}, kinds=(MODEL,))
    return manifest, from_dict(manifest.options["model"], ModelSpec, "model.")
