"""What the finished rounds of a workdir hold: their evaluations, their translations, and the references."""

import contextlib
import json
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import absolute, read_file, write_text
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.foreign import refuse_foreign_workdir
from emnat_jax.artifacts.manifest import file_sha256, load_manifest
from emnat_jax.artifacts.sealed import seal, unseal_if_sealed
from emnat_jax.config import DataConfig
from emnat_jax.data.corpora import find_file
from emnat_jax.data.text import read_multi_references
from emnat_jax.errors import UserError, require
from emnat_jax.evaluation.bleu import References
from emnat_jax.report.convert import from_values, loads, to_values
from emnat_jax.report.record import (
    SYSTEMS,
    FinetuneEvaluation,
    RecordedEvaluation,
    Report,
    SystemScores,
    TrainedScores,
    Training,
)

MEND = "run `emnat em`, which evaluates the round anew."
_Found = TypeVar("_Found")
MULTI = "test_multi"  # beside the splits: the sentences of data.test_multi


def read_report(workdir: epath.PathLike) -> Report:
    """The report that a run, or `emnat report`, has written last; as `run` returns it, and nothing is made.

    UserError where there is none, for a damaged one, one of an older version, and the workdir of a sweep.
    """
    directory = absolute(epath.Path(workdir).expanduser())
    refuse_foreign_workdir(directory)
    path, mend = directory / paths.REPORT_JSON, f"write it anew: emnat report --workdir={directory}"
    require(path.exists(), f"{path}: no such file; {mend}")
    return loads(Report, read_file(path).decode(errors="replace"), str(path), mend)


def finished_rounds(directory: epath.Path, rounds: int) -> list[int]:
    """The rounds of a workdir that were evaluated, of 0 to `rounds`, in order."""
    return [index for index in range(rounds + 1) if (directory / paths.evaluation(index)).exists()]


def write_evaluation(directory: epath.Path, found: RecordedEvaluation) -> None:
    """Writes eval.json of a round, with a checksum."""
    _write(directory / paths.evaluation(found.round), found)


def write_finetuned(directory: epath.Path, found: FinetuneEvaluation) -> None:
    """Writes finetune/eval.json, with a checksum."""
    _write(directory / paths.FINETUNE_EVALUATION, found)


def _write(path: epath.Path, found: Any) -> None:
    text = json.dumps(seal(to_values(found)), indent=2, ensure_ascii=False)
    write_text(path, f"{text}\n")


def read_evaluation(directory: epath.Path, index: int) -> RecordedEvaluation:
    """The evaluation of a round. UserError for a damaged file, and where outputs are not those it is of."""
    found = _read(RecordedEvaluation, directory / paths.evaluation(index))
    _require_outputs(directory / paths.outputs(index), found.outputs or {})
    return found


def read_finetuned(directory: epath.Path) -> FinetuneEvaluation:
    """The evaluation of the fine-tuned student; UserError as of `read_evaluation`."""
    found = _read(FinetuneEvaluation, directory / paths.FINETUNE_EVALUATION)
    _require_outputs(directory / paths.FINETUNE_OUTPUTS, found.outputs)
    return found


def _read(cls: type[_Found], path: epath.Path) -> _Found:
    try:
        values = unseal_if_sealed(json.loads(read_file(path)))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path} is damaged ({getattr(error, 'strerror', error)}); {MEND}") from error
    return from_values(cls, values, str(path), MEND)


def _require_outputs(folder: epath.Path, written: dict[str, str]) -> None:
    """UserError where outputs are not those that were scored."""
    for name, sha256 in written.items():
        output = folder / name
        if not output.is_file() or file_sha256(output) != sha256:
            what = "was changed" if output.is_file() else "is lost"
            raise UserError(f"{output} {what} after it was scored; {MEND}")


def outputs_of(directory: epath.Path, index: int, split: str = "test") -> dict[str, list[str]]:
    """The translations of each system of a round."""
    written = _read(RecordedEvaluation, directory / paths.evaluation(index)).outputs
    return outputs_in(directory / paths.outputs(index), split, SYSTEMS, written)


def outputs_in(
    folder: epath.Path, split: str, systems: Sequence[str], written: Collection[str] | None
) -> dict[str, list[str]]:
    """The translations of these systems, as far as an evaluation has `written` them.

    Others may lie there, of a run with other options that was killed. None: by an old evaluation, which does
    not say.
    """
    files = {name: folder / paths.output_name(split, name) for name in systems}
    there = [name for name, path in files.items() if (path.name in written if written else path.exists())]
    return {name: read_file(files[name]).decode().split("\n")[:-1] for name in there}


def trained_scores(folder: epath.Path, scores: SystemScores) -> TrainedScores:
    """A model's scores with its training, of which its manifest tells."""
    manifest = load_manifest(folder)
    options = manifest.options
    training = Training(manifest.rows_in, options["step"], options["valid_loss"], manifest.content_hash)
    return TrainedScores(**vars(scores), training=training)


def references_of(config: DataConfig, directory: epath.Path) -> dict[str, References]:
    """Of the reported split (test, else valid), and of the sentences with several references.

    Without the latter where their file is no longer there.
    """
    split = config.splits[-1]
    found: dict[str, References] = {
        split: [[row.target_text for row in read_dataset(directory / paths.split(split))]]
    }
    if config.test_multi is not None:
        with contextlib.suppress(UserError):
            found[MULTI] = read_multi_references(find_file(config, "test_multi"))[1]
    return found
