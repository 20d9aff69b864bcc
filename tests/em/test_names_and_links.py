"""Workdirs with odd names, folders behind links, and sets that somebody else has made."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from emnat_jax.artifacts.dataset import Provenance, describe_shard, finish_dataset, read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.artifacts.records import shard_name, write_shard
from emnat_jax.em.driver import rebuild_report
from emnat_jax.em.load import load
from emnat_jax.em.stages.begun import begin
from emnat_jax.errors import UserError
from tests.cli.commands import error_of
from tests.em.runs import run_em, workspace

GRID = Path(__file__).parents[1] / "sweep/grid_file.py"


@pytest.mark.parametrize("name", ["run[1]", "run*"])
def test_a_workdir_whose_name_is_a_pattern_is_read_and_not_trained_in(finished, tmp_path, name):
    """Orbax would save checkpoints there that it cannot read."""
    here = tmp_path / name
    shutil.copytree(finished[0], here)
    assert load(here).translate(["a b"]) == load(finished[0]).translate(["a b"])
    assert rebuild_report(workspace(here)).rounds
    (here / "rounds/1/eval.json").unlink()
    before = sorted(here.rglob("*"))
    with pytest.raises(UserError, match="nothing can be trained in a folder with .* give it another name"):
        run_em(here)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("words", [["em"], ["train", "--role=teacher"], ["sweep", f"--config={GRID}"]])
def test_a_folder_whose_name_is_a_pattern_is_not_made(tmp_path, capsys, words):
    said = error_of(capsys, *words, f"--workdir={tmp_path / 'new[1]'}")
    assert "nothing can be trained in a folder with" in said and not any(tmp_path.iterdir())


def test_of_linked_checkpoints_the_link_alone_is_deleted(tmp_path):
    """As of a model whose checkpoints lie on another disk, and which is trained anew."""
    elsewhere, model = tmp_path / "disk/15", tmp_path / "student"
    elsewhere.mkdir(parents=True)
    model.mkdir()
    (model / "checkpoints").symlink_to(tmp_path / "disk")
    said: list[str] = []
    assert not begin(epath.Path(model), {"role": "student"}, said.append, starts_over=True)
    assert "saved after step 15; deletes it and starts from the beginning" in said[0]
    assert elsewhere.is_dir() and [path.name for path in model.iterdir()] == ["TRAINED_FROM.json"]


@pytest.mark.parametrize("command", ["train", "distill", "score"])
@pytest.mark.parametrize("token", [-3, 9_999])
def test_a_set_with_tokens_of_another_vocabulary_is_refused(finished, tmp_path, capsys, command, token):
    """Its manifest names this one, and all checksums fit."""
    run, data = finished[0], tmp_path / "data"
    rows = list(read_dataset(run / "data/valid"))
    rows[3].targets = [np.array([token, 1], np.int32)]
    rows[5].source = np.array([token, 1], np.int32)
    write_shard(data / shard_name(0, 1), rows)
    made = Provenance("bitext", load_manifest(run / "data/valid").fingerprints, {}, 1)
    shards = [describe_shard(data / shard_name(0, 1))]
    finish_dataset(data, made, shards=shards, rows_in=len(rows), dropped={})
    model = f"--model={run / 'rounds/0/teacher'}"
    options = {"train": ["--role=teacher"], "distill": [model], "score": [model, "--column=a_log_prob"]}
    words = [f"--workdir={run}", f"--data={data}", f"--output={tmp_path / 'made'}", *options[command]]
    assert "has tokens that are not in the vocabulary" in error_of(capsys, command, *words)


def test_a_model_is_not_called_damaged_where_its_path_is_not_text(finished, tmp_path):
    """What is damaged is to be deleted."""
    here = shutil.copytree(finished[0], tmp_path / os.fsdecode(b"r\xfcn"))
    with pytest.raises(UserError, match="no checkpoint can be read .* not UTF-8; give it another name"):
        load(here)
    load(here.rename(tmp_path / "run"))


def test_a_copy_of_a_round_is_none_of_its_own(finished, tmp_path):
    """Also under a number that the plan does not have."""
    here = shutil.copytree(finished[0], tmp_path / "run")
    shutil.copytree(here / "rounds/0", here / "rounds/2")
    with pytest.raises(UserError, match="rounds/2/student was not made from .*rounds/"):
        load(here)
    load(here, round=1)


def test_an_older_round_does_not_take_the_place_of_one_that_the_journal_has_lost_too(finished, tmp_path):
    """The evaluation of the round shows that its student was finished."""
    here = shutil.copytree(finished[0], tmp_path / "run")
    (here / "journal.jsonl").unlink()
    (here / "rounds/1/student/MANIFEST.json").unlink()
    with pytest.raises(UserError, match="rounds/1/student was finished.*or name the round .--round=0"):
        load(here)
    load(here, round=0)
