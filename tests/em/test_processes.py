"""A whole EM run over several processes."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from emnat_jax.artifacts.dataset import read_dataset
from tests import joint
from tests.em.test_kill import outcome

CONFIG = str(Path(__file__).with_name("config_file.py"))


def emnat(count: int, devices: int, command: str, directory, *options: str) -> str:
    """Output of `emnat COMMAND` as `count` processes."""
    words = ["emnat_jax", command, f"--config={CONFIG}", f"--workdir={directory}", *options]
    results = joint.outputs(joint.launch(count, devices, words), seconds=600)
    assert [status for status, _ in results] == [0] * count, results
    return results[0][1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The workdir of one process with four devices."""
    directory = tmp_path_factory.mktemp("alone") / "run"
    emnat(1, 4, "em", directory)
    return directory


def contents(directory) -> dict:
    """What the sets of a run hold, tokens and counts."""
    found = {}
    for path in directory.rglob("MANIFEST.json"):
        manifest = json.loads(path.read_text())
        if "rows_in" in manifest and manifest["kind"] != "model":
            found[str(path.parent.relative_to(directory))] = [
                manifest[key] for key in ("content_hash", "rows_in", "rows_out", "dropped")
            ]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("count", "devices"), [(2, 2), (4, 1)])
def test_any_number_of_processes_makes_the_same_run(alone, tmp_path, count, devices):
    emnat(count, devices, "em", tmp_path / "run")
    _require_same_run(tmp_path / "run", alone)


def _require_same_run(directory: Path, other: Path) -> None:
    """The same sets and outputs, and figures that differ in their rounding alone."""
    assert contents(directory) == contents(other)
    one, many = outcome(other), outcome(directory)
    assert one["outputs"] == many["outputs"]
    for name, lines in one["metrics"].items():
        for line, found in zip(lines, many["metrics"][name], strict=True):
            assert line == pytest.approx(found, rel=1e-5)


@pytest.mark.slow
def test_any_number_of_processes_scores_with_the_students_of_the_folds(tmp_path):
    """Of the two shards one has a single row: its process has none for the student of the other fold."""
    scores = []
    for count, devices in ((1, 2), (2, 1)):
        directory = tmp_path / str(count)
        emnat(count, devices, "em", directory, "--config.em.folds=2", "--config.em.rows=65")
        rows = list(read_dataset(directory / "rounds/0/candidates"))
        scores.append(np.concatenate([row.scores["student_log_prob"] for row in rows]))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    np.testing.assert_allclose(*scores, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "devices"), [(2, 1), (4, 1)])
def test_any_number_of_processes_distills_the_same_set(alone, tmp_path, count, devices):
    model = f"--model={alone}/rounds/0/teacher"
    emnat(count, devices, "distill", alone, model, f"--output={tmp_path}/set", "--num-candidates=2")
    emnat(1, 1, "distill", alone, model, f"--output={tmp_path}/one", "--num-candidates=2")
    assert contents(tmp_path)["set"] == contents(tmp_path)["one"]


@pytest.mark.slow
def test_any_number_of_processes_chooses_the_same_checkpoint(alone, tmp_path):
    """By BLEU of translations that the processes make together, with which lengths are tuned as well."""
    train = "--config.student_train"
    words = ["--role=student", f"--data={alone}/rounds/0/distilled", f"{train}.best_by=bleu"]
    words += [f"{train}.average_best=2", f"{train}.eval_every=10", "--config.evaluation.tokenizer=char"]
    words += [f"{train}.tune_length=True", "--config.student.vanilla.length_candidates=3"]
    chosen, tuned = [], []
    for count, devices in ((1, 4), (2, 2)):
        emnat(count, devices, "train", alone, *words, f"--output={tmp_path}/{count}")
        manifest = json.loads((tmp_path / f"{count}/MANIFEST.json").read_text())
        chosen.append(manifest["options"]["chosen"])
        tuned.append(manifest["options"]["tuned_length"])
    assert chosen[0].pop("value") == pytest.approx(chosen[1].pop("value"), rel=1e-5) != 0
    assert chosen[0] == chosen[1] and chosen[0]["by"] == "bleu"
    one, two = ([tuple(line.values()) for line in found.pop("tried")] for found in tuned)
    assert np.array(one) == pytest.approx(np.array(two), rel=1e-5) and len(one) == 5
    assert tuned[0] == tuned[1] and tuned[0]["option"] == "length_penalty"


@pytest.mark.slow
def test_the_text_commands_work_on_several_processes(alone):
    texts = [emnat(count, 1, "evaluate", alone, "--role=student", "--json") for count in (1, 2)]
    figures = [json.loads(text[text.index("{") : text.rindex("}") + 1]) for text in texts]
    assert figures[0] == figures[1] and "bleu" in figures[0]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_any_number_of_processes_translates_the_same(alone, tmp_path, count):
    """More lines than a window holds."""
    (tmp_path / "in").write_text("".join(f"s{i % 8} s{i // 8 % 8}\n\n" for i in range(2_000)))
    words = (f"--input={tmp_path}/in", "--n-best=2")
    emnat(count, 1, "translate", alone, *words, f"--output={tmp_path}/many")
    emnat(1, 1, "translate", alone, *words, f"--output={tmp_path}/one")
    many, one = ((tmp_path / name).read_text().splitlines() for name in ("many", "one"))
    assert [line.split("\t")[::3] for line in many] == [line.split("\t")[::3] for line in one]
    assert len({line.split("\t")[0] for line in one}) == 4_000


def killed(count: int, devices: int, directory: Path, moment: str) -> None:
    """Starts the run and kills all of its processes once the workdir has a file of this pattern."""
    words = ["emnat_jax", "em", f"--config={CONFIG}", f"--workdir={directory}"]
    processes = joint.launch(count, devices, words)
    while not any(directory.glob(moment)):
        time.sleep(0.2)
        assert all(process.poll() is None for process in processes), joint.outputs(processes)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        process.wait()


IN_A_TRAINING = "rounds/0/{role}/checkpoints/*/commit_success.txt"
IN_A_SET = "rounds/0/n_best/*"  # it has been begun


@pytest.mark.slow
def test_processes_killed_and_started_again_make_the_same_run(tmp_path):
    emnat(2, 1, "em", tmp_path / "unbroken")
    for moment in (IN_A_TRAINING.format(role="teacher"), IN_A_SET):
        killed(2, 1, tmp_path / "run", moment)
    emnat(2, 1, "em", tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "unbroken")


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_four_processes_killed_and_started_as_two(alone, tmp_path, devices):
    """In a training, as two in the middle of a set, as four in a training again: the run of one process."""
    killed(4, 1, tmp_path / "run", IN_A_TRAINING.format(role="teacher"))
    killed(2, devices, tmp_path / "run", IN_A_SET)
    killed(4, 1, tmp_path / "run", IN_A_TRAINING.format(role="student"))
    emnat(2, devices, "em", tmp_path / "run")
    _require_same_run(tmp_path / "run", alone)
