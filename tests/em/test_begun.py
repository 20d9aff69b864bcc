"""A training that was begun, and is to go on with something else."""

import dataclasses
import json
import shutil

import pytest
from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.as_json import as_json
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import Manifest, load_manifest, write_manifest
from emnat_jax.artifacts.sealed import digest
from emnat_jax.config import TrainConfig
from emnat_jax.config.convert import to_dict
from emnat_jax.data.stored_sets import StoredSet
from emnat_jax.em.resume import keep_config
from emnat_jax.em.stages import begun
from emnat_jax.em.stages.begun import begin, identity
from emnat_jax.em.train_model import Sources, _Models, _open_stream, _run_of, train_model
from emnat_jax.em.train_options import training_options
from emnat_jax.errors import UserError
from tests.cli.commands import error_of, run
from tests.em.runs import run_em, small_config, workspace


def with_rate(peak_lr: float):
    config = small_config()
    optim = dataclasses.replace(config.teacher_train.optim, peak_lr=peak_lr)
    train = dataclasses.replace(config.teacher_train, steps=12, optim=optim)
    return dataclasses.replace(config, teacher_train=train)


def trained(directory, config, output, said=()) -> str:
    """Content hash of a teacher of round 0."""
    context = workspace(directory, config).context
    context.log = said.append if said != () else context.log
    sources = Sources(directory / "data/train")
    return train_model(context, training_options(config, "teacher"), sources, output, label="x").content_hash


@pytest.mark.slow
def test_another_rate_starts_from_the_beginning(finished, tmp_path):
    directory, said = finished[0], []
    fresh = trained(directory, with_rate(1e-3), tmp_path / "fresh")
    trained(directory, with_rate(1e-2), tmp_path / "changed")
    (tmp_path / "changed/MANIFEST.json").unlink()  # as if it had been killed
    assert trained(directory, with_rate(1e-3), tmp_path / "changed", said) == fresh
    assert [
        line
        for line in said
        if "other data or options (teacher_train.optim.peak_lr), saved after step 12; deletes" in line
    ]
    lines = [
        json.loads(line)["step"] for line in (tmp_path / "changed/metrics.jsonl").read_text().splitlines()
    ]
    assert lines == sorted(lines) and "goes on" not in "".join(said)


@pytest.mark.slow
def test_the_same_options_go_on_whatever_the_intervals(finished, tmp_path):
    directory, said = finished[0], []
    config = with_rate(1e-3)
    first = trained(directory, config, tmp_path / "model")
    (tmp_path / "model/MANIFEST.json").unlink()
    train = dataclasses.replace(config.teacher_train, log_every=3, eval_every=5, checkpoint_every=2)
    again = trained(directory, dataclasses.replace(config, teacher_train=train), tmp_path / "model", said)
    assert again == first and any("goes on after step 12" in line for line in said)


def test_options_that_came_later_have_their_default(tmp_path):
    """In what an older version began: it is the same training, with the mark that its checkpoints have."""
    made_from = {"role": "student", "train": to_dict(TrainConfig(steps=7))}
    older = as_json(made_from)
    del older["train"]["objective"]
    (tmp_path / paths.TRAINED_FROM).write_text(json.dumps(older))
    (tmp_path / "checkpoints/3").mkdir(parents=True)
    assert not begin(epath.Path(tmp_path), made_from, print, starts_over=False)
    assert (tmp_path / "checkpoints/3").exists() and identity(epath.Path(tmp_path)) == digest(older)
    other = made_from | {"train": to_dict(TrainConfig(steps=7, objective="ngram"))}
    with pytest.raises(UserError, match=r"data or options \(student_train\.objective\)"):
        begin(epath.Path(tmp_path), other, print, starts_over=False)


def test_checkpoints_of_something_else_are_deleted_by_name_or_refused(tmp_path):
    said, model = [], epath.Path(tmp_path / "model")
    first = {"rate": 1, "fingerprints": {"source": "a"}}
    assert not begin(model, first, said.append, starts_over=False)
    (model / "checkpoints/3").mkdir(parents=True)
    (model / "metrics.jsonl").write_text("{}\n")
    assert not begin(model, first, said.append, starts_over=False)
    other = {"rate": 1, "fingerprints": {"source": "b"}}
    with pytest.raises(UserError, match=r"other data or options \(data\), saved after step 3"):
        begin(model, other, said.append, starts_over=False)
    assert (model / "checkpoints/3").exists() and said == []
    assert not begin(model, other, said.append, starts_over=True)
    assert sorted(path.name for path in model.iterdir()) == ["TRAINED_FROM.json"]
    assert len(said) == 1 and "(data), saved after step 3; deletes it and starts" in said[0]
    (model / "TRAINED_FROM.json").write_text("{")
    (model / "checkpoints/5").mkdir(parents=True)
    with pytest.raises(UserError, match="without a readable TRAINED_FROM.json, saved after step 5"):
        begin(model, {"rate": 1}, said.append, starts_over=False)
    assert not begin(model, {"rate": 1}, said.append, starts_over=True)
    assert not (model / "checkpoints").exists()


@pytest.mark.parametrize("name", ["checkpoints/epoch=1.ckpt", "tensorboard/events", "metrics.jsonl"])
def test_a_training_deletes_nothing_of_others(tmp_path, name):
    """Of a folder that it was given, and where no training says that it has begun."""
    file = epath.Path(tmp_path / name)
    file.parent.mkdir(exist_ok=True)
    file.write_text("of somebody else")
    with pytest.raises(UserError, match=f"holds {name.split('/')[0]}, .* give another --output"):
        begin(epath.Path(tmp_path), {"rate": 1}, print, starts_over=False)
    assert file.read_text() == "of somebody else"


MODEL = {
    "kind": "model",
    "content_hash": "",
    "rows_in": 1,
    "rows_out": 1,
    "dropped": {},
    "shards": [],
}


@pytest.mark.parametrize("moment", ["take_away", "unlink", "remove_folder", "never"])
def test_a_kill_while_a_finished_training_is_begun_anew(tmp_path, monkeypatch, moment):
    """It must not go on from checkpoints later than the one that is lost: other weights would be best."""
    model, made_from = epath.Path(tmp_path / "model"), {"rate": 1}
    assert not begin(model, made_from, print, starts_over=True)
    (model / "checkpoints/4").mkdir(parents=True)
    chosen = {"steps": [2], "by": "bleu", "value": 1.0}
    write_manifest(model, Manifest(**MODEL, seed=1, fingerprints={}, options={"step": 4, "chosen": chosen}))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if moment == "unlink":
            patched.setattr(type(model), "unlink", killed)
        elif moment != "never":
            patched.setattr(begun, moment, killed)
        if moment == "never":
            assert not begin(model, made_from, print, starts_over=False)
        else:
            with pytest.raises(KeyboardInterrupt):
                begin(model, made_from, print, starts_over=False)
    if moment == "unlink":  # the stage is not taken for whole
        assert begun.lost_step(model) == 2
    assert not begin(model, made_from, print, starts_over=False)
    assert [path.name for path in model.iterdir()] == ["TRAINED_FROM.json"]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_mended_with_a_lower_rate(finished, tmp_path):
    """As its message advises, in the same workdir."""
    directory = tmp_path / "run"
    shutil.copytree(finished[0], directory, ignore=shutil.ignore_patterns("rounds", "report"))
    wild = dataclasses.replace(with_rate(1e38).teacher_train.optim, clip_norm=1e38, warmup_steps=1)
    config = with_rate(1e-3)
    broken = dataclasses.replace(config, teacher_train=dataclasses.replace(config.teacher_train, optim=wild))
    keep_config(workspace(directory, broken))
    with pytest.raises(UserError, match="lower teacher_train.optim.peak_lr"):
        run_em(directory, broken)
    keep_config(workspace(directory, config))
    trained(directory, config, directory / "rounds/0/teacher")
    assert load_manifest(directory / "rounds/0/teacher").options["train"]["optim"]["peak_lr"] == 1e-3


def test_rows_that_no_bucket_holds_are_told_once(finished, tmp_path):
    said, context = [], workspace(finished[0]).context
    context.log = said.append
    options = training_options(small_config(), "teacher")
    data = epath.Path(finished[0] / "data/train")
    rows = list(read_dataset(data))
    longest = max(len(tokens) for row in rows for tokens in (row.source, *row.targets))
    for width in (longest, longest - 1):
        short = dataclasses.replace(options, buckets=(width,))
        sets = {"source": StoredSet(data, load_manifest(data))}
        with _open_stream(context, short, sets, "x") as stream:
            made = _run_of(context, short, stream, _Models(), epath.Path(tmp_path), "x")
        assert made.option_group == "teacher_train"  # what messages call its options
        assert stream.examples == len(rows)
    count = sum(max(len(row.source), len(row.targets[0])) == longest for row in rows)
    assert said == [f"x: {count} rows are longer than the last of data.buckets and are not learned from"]


OTHER = {
    "teacher.dropout, seed": ("--config.teacher.dropout=0.4", "--config.seed=9"),
    "teacher_train.optim.peak_lr": ("--config.teacher_train.optim.peak_lr=0.5",),
    "data": ("--data={workdir}/rounds/0/distilled",),
    "start": ("--start={workdir}/rounds/0/teacher",),
    "base": ("--base={workdir}/rounds/0/distilled",),
}


@pytest.mark.slow
def test_a_model_is_not_said_to_be_another(finished, tmp_path, capsys):
    """Neither finished nor half done; and what the message advises works."""
    model = tmp_path / "m"
    words = ["train", "--role=teacher", f"--workdir={finished[0]}", "--config.teacher_train.steps=3"]
    assert run(*words, f"--output={model}")[0] == 0
    before = (model / "MANIFEST.json").read_text()
    assert run(*words, f"--output={model}", capsys=capsys)[0] == 0
    for is_finished in (True, False):
        if not is_finished:
            (model / "MANIFEST.json").unlink()
        for named, options in OTHER.items():
            given = [option.format(workdir=finished[0]) for option in options]
            message = error_of(capsys, *words, f"--output={model}", *given)
            assert named in message and "give another --output" in message.replace("Give", "give")
            assert ("delete this folder" in message) == (not is_finished)
            assert (model / "checkpoints/3").exists()
    assert run(*words, f"--output={model}")[0] == 0
    assert load_manifest(model).content_hash == json.loads(before)["content_hash"]
    other = [*words, "--config.seed=9"]
    assert run(*other, f"--output={tmp_path / 'n'}")[0] == 0
    shutil.rmtree(model)
    assert run(*other, f"--output={model}")[0] == 0


@pytest.mark.slow
def test_a_set_is_not_said_to_be_another(finished, tmp_path, capsys, monkeypatch):
    """The same of the sets that commands make; a half-done one keeps its shards."""
    here, made = finished[0], tmp_path / "set"
    words = ["distill", f"--workdir={here}", f"--output={made}"]
    first = [*words, f"--model={here}/rounds/0/teacher", "--num-candidates=2", "--include-reference"]
    others = {
        "the fingerprint of model": [*words, f"--model={here}/rounds/1/teacher", *first[-2:]],
        "num_candidates": [*first, "--num-candidates=3"],
        "include_reference": first[:-1],
        "seed": [*first, "--config.seed=9"],
        "the fingerprint of source": [*first, f"--data={here}/data/valid"],
    }

    def break_off(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("emnat_jax.data.shard_workers.finish_dataset", break_off)
        assert run(*first, capsys=capsys)[0] == 130
    shards = sorted(made.glob("part-*.tfrecord"))
    for is_finished in (False, True):
        if is_finished:
            assert run(*first, capsys=capsys)[0] == 0
        for named, other in others.items():
            assert named in error_of(capsys, *other)
        assert sorted(made.glob("part-*.tfrecord")) == shards
    shutil.rmtree(made)
    assert run(*others["num_candidates"], capsys=capsys)[0] == 0
    select = ["select", f"--workdir={here}", f"--candidates={here}/rounds/0/candidates"]
    assert run(*select, f"--output={tmp_path / 'selected'}", capsys=capsys)[0] == 0
    message = error_of(capsys, *select, f"--output={tmp_path / 'selected'}", "--config.select.alpha=0.3")
    assert "select.alpha" in message
