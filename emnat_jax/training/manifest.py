"""The folder of a finished model: checkpoints and, written last, a manifest that says what it is."""

from collections.abc import Callable
from typing import Any, NamedTuple

from etils import epath

from emnat_jax.artifacts.manifest import (
    MANIFEST_NAME,
    MODEL,
    Manifest,
    load_manifest,
    utc_now,
    write_manifest,
)
from emnat_jax.config import ModelSpec, TrainConfig
from emnat_jax.config.checks import NotInTable
from emnat_jax.config.convert import from_dict, to_dict
from emnat_jax.errors import UserError
from emnat_jax.training.metrics import metrics_digest, read_metrics
from emnat_jax.training.run import FitResult
from emnat_jax.training.weights import Weights


class Tried(NamedTuple):
    """What outputs on the valid split are with one value."""

    value: float
    bleu: float  # percent
    length_ratio: float  # tokens of the outputs over tokens of the references


class TunedLength(NamedTuple):
    """The value of the option that moves the length of outputs (`FamilyOptions.length_choices`)."""

    option: str
    decoder: str  # it belongs to
    value: float
    tried: tuple[Tried, ...]

    @classmethod
    def of(cls, values: dict[str, Any]) -> "TunedLength":
        """As `as_json` gives it."""
        return cls(**values | {"tried": tuple(Tried(**tried) for tried in values["tried"])})

    def as_json(self) -> dict[str, Any]:
        """As a manifest holds it."""
        return self._asdict() | {"tried": [tried._asdict() for tried in self.tried]}

    def into(self, model: ModelSpec) -> ModelSpec:
        """The model with this value; as it is where it has another decoder."""
        choices = model.options.length_choices()
        if choices is None or (choices.option, choices.decoder) != (self.option, self.decoder):
            return model
        return model.with_length(self.value)


def finish_model(
    directory: epath.PathLike,
    result: FitResult,
    *,
    model: ModelSpec,
    train: TrainConfig,
    tuned_length: TunedLength | None,
    rows: int,
    fingerprints: dict[str, str],
    seed: int,
) -> None:
    """Writes the manifest, which declares the model finished. `rows` is the number it was trained on.

    `model` is the configured one, with which `tuned_length` need not agree.
    """
    options: dict[str, Any] = {
        "model": to_dict(model),
        "train": to_dict(train),
        "step": result.step,
        "valid_loss": result.valid_loss,
        "chosen": result.chosen and result.chosen._asdict(),
        "tuned_length": tuned_length and tuned_length.as_json(),
        "metrics": _metrics(directory),
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


def _metrics(directory: epath.PathLike) -> str | None:
    """The hash of the lines that the training wrote; None where they are damaged, which stops no run."""
    try:
        return metrics_digest(read_metrics(directory))
    except (ValueError, RecursionError):
        return None


def weights_of(manifest: Manifest) -> Weights:
    """Where the weights of a finished model are."""
    chosen = manifest.options.get("chosen")
    return Weights(tuple(chosen["steps"] if chosen else [manifest.options["step"]]), manifest.content_hash)


def load_model_manifest(
    directory: epath.PathLike, vocabulary: str, change: Callable[[ModelSpec], ModelSpec] | None = None
) -> tuple[Manifest, ModelSpec]:
    """Manifest and resolved configuration of a finished model; `change` may alter how it decodes.

    The length of outputs is as it was tuned, unless another decoder takes the place of the configured one.
    Raises UserError when it is unfinished or was trained with another vocabulary.
    """
    manifest = load_manifest(directory, expect={"vocabulary": vocabulary}, kinds=(MODEL,))
    try:
        model = from_dict(manifest.options["model"], ModelSpec, "model.")
        tuned = manifest.options.get("tuned_length")
        length = TunedLength.of(tuned) if tuned else None
        weights_of(manifest)
    except NotInTable as error:
        raise UserError(f"{epath.Path(directory) / MANIFEST_NAME}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{epath.Path(directory) / MANIFEST_NAME} is damaged (it does not describe a model: {error!r}); "
            f"restore it, or delete {directory} and train the model again."
        ) from error
    model = change(model) if change else model
    return manifest, length.into(model) if length else model
