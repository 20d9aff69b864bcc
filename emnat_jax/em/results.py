"""What the finished rounds of a workdir hold: their evaluations, their translations, and the references."""

import contextlib
import json

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.atomic import write_text
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import file_sha256
from emnat_jax.artifacts.sealed import seal, unseal_if_sealed
from emnat_jax.config import DataConfig
from emnat_jax.data.corpora import find_file
from emnat_jax.data.text import read_multi_references
from emnat_jax.errors import UserError
from emnat_jax.evaluation.bleu import References
from emnat_jax.report.convert import from_values, to_values
from emnat_jax.report.record import SYSTEMS, RecordedEvaluation

MEND = "run `emnat em`, which evaluates the round anew."
MULTI = "test_multi"  # beside the splits: the sentences of data.test_multi


def finished_rounds(directory: epath.Path, rounds: int) -> list[int]:
    """The rounds of a workdir that were evaluated, of 0 to `rounds`, in order."""
    return [index for index in range(rounds + 1) if (directory / paths.evaluation(index)).exists()]


def write_evaluation(directory: epath.Path, found: RecordedEvaluation) -> None:
    """Writes eval.json, with a checksum."""
    text = json.dumps(seal(to_values(found)), indent=2, ensure_ascii=False)
    write_text(directory / paths.evaluation(found.round), f"{text}\n")


def read_evaluation(directory: epath.Path, index: int) -> RecordedEvaluation:
    """The evaluation of a round. UserError for a damaged file, and where outputs are not those it is of."""
    path = directory / paths.evaluation(index)
    try:
        values = unseal_if_sealed(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {MEND}") from error
    found = from_values(RecordedEvaluation, values, str(path), MEND)
    for name, sha256 in (found.outputs or {}).items():
        output = directory / paths.outputs(index) / name
        if not output.exists() or file_sha256(output) != sha256:
            what = "was changed" if output.exists() else "is lost"
            raise UserError(f"{output} {what} after it was scored; {MEND}")
    return found


def outputs_of(directory: epath.Path, index: int, split: str = "test") -> dict[str, list[str]]:
    """The translations of each system of a round."""
    files = {name: directory / paths.translations(index, split, name) for name in SYSTEMS}
    return {name: path.read_text().split("\n")[:-1] for name, path in files.items() if path.exists()}


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
