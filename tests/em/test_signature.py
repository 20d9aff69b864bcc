"""The signature of a stage covers every option that decides its result, and the stage gets no other."""

import contextlib
import dataclasses
import functools
import json

import pytest

from emnat_jax.config import FAMILIES, Config, DataConfig, VocabConfig
from emnat_jax.config.convert import assign, from_dict, to_dict
from emnat_jax.config.finetune import FinetuneConfig
from emnat_jax.em import driver
from emnat_jax.em.plan import make_plan
from emnat_jax.em.signature import signature, signatures
from emnat_jax.em.stages.evaluate import Evaluate
from emnat_jax.errors import UserError
from tests.em.runs import small_config, workspace

# Options that no result depends on. `Settings`, `Intervals` or the `conditions` of a stage say why.
FREE = {
    *(f"mesh.{name}" for name in ("data", "fsdp", "model")),
    *(f"mesh.rules.{name}" for name in ("vocab", "mlp", "heads", "embed")),
    *(f"data.{name}" for name in ("root", "tfds_dir", "decode_rows")),
    *(f"data.{split}_{side}" for split in ("train", "valid", "test") for side in ("source", "target", "tsv")),
    *(f"{role}_train.{name}_every" for role in ("teacher", "student") for name in ("log", "checkpoint")),
    "teacher_train.eval_every",  # of a training whose last weights are used
    "em.rounds",
    "em.stop_min_gain",
    "em.stop_max_drift",
    "evaluation.samples",
}
ONE_VALUE = {"teacher_train.objective"}  # a teacher's family goes step by step
OTHER = {  # a valid value unlike that of CONFIG, where it is not the next number
    "data.buckets": (6, 8),
    "data.kind": "demo",
    "data.modes.modes": 2,
    "data.row_multiple": 16,
    "data.valid_rows": 5,
    "evaluation.tokenizer": "char",
    "em.finetune.objective": "likelihood",
    "em.candidates_from": ("teacher", "student"),
    "em.student_data": "selected",
    "select.max_drift": 0.1,
    "select.min_quality": 0.1,
    "select.output": "sampled",
    "select.quality": "bleu",
    "select.rule": "student_top1",
    "student.family": "cmlm",
    "student.heads": 4,
    "student.vanilla.decoder": "argmax",
    "teacher.family": "other",
    "teacher.heads": 4,
    "vocab.character_coverage": 0.99,
    "vocab.contractions": (),
    "vocab.model": "char",
    "vocab.path": "a.model",
    "vocab.size": 50,
    "vocab.user_symbols": ("<2de>",),
}
BY_NAME = {
    "activation": "gelu",
    "attention": "cudnn",
    "best_by": "loss",
    "attention_dropout": 0.1,
    "decoder_input": "source",
    "dtype": "bfloat16",
    "ema_decay": 0.5,
    "ff_dropout": 0.1,
    "init": "normal",
    "later_optimizer": "new",
    "method": "muon",
    "norm": "post",
    "objective": "ngram",
    "odd_penalty": 1.0,
    "positions": "sinusoidal",
    "schedule": "cosine",
    "size": "small",
    "source_language": "fr",
    "stop_max_drift": 0.1,
    "stop_min_gain": 0.1,
    "target_language": "fr",
    "width": 32,
}


@functools.cache
def bases() -> list[Config]:
    """Between them they read all that a run can read; one for options that exclude others."""
    plain = small_config(student_data="candidates", rounds=2)
    patient = dataclasses.replace(plain.student_train, patience=3)
    weighed = dataclasses.replace(plain.select, quality_weight=0.5)
    kernel = {"dtype": "bfloat16", "attention_dropout": 0.0}
    text = DataConfig(kind="text", train_source="a.de", train_target="a.en")
    models = {role: dataclasses.replace(getattr(plain, role), **kernel) for role in ("teacher", "student")}
    tuned = dataclasses.replace(plain.em, finetune=FinetuneConfig(steps=8))
    ctc = dataclasses.replace(plain.student, family="ctc", options=None)
    return [
        dataclasses.replace(plain, student_train=patient, select=weighed),
        small_config(rounds=2, student_data="selected", samples=2),
        dataclasses.replace(plain, **models),
        dataclasses.replace(plain, data=text, vocab=VocabConfig()),
        dataclasses.replace(plain, student=ctc, em=tuned),
    ]


@functools.cache
def signed(config: Config) -> dict[str, str]:
    return signatures(make_plan(config), config)


def leaves(values: dict, where: str = "") -> dict:
    found = {}
    for name, value in values.items():
        inner = leaves(value, f"{where}{name}.") if isinstance(value, dict) else {f"{where}{name}": value}
        found |= inner
    return found


def other_value(key: str, value):
    name = key.split(".")[-1]
    if key in OTHER or name in BY_NAME:
        return OTHER.get(key, BY_NAME.get(name))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value / 2 + 0.1
    if key.startswith("mesh.rules."):
        return "data"
    return "text" if key.startswith("data.") and name != "train_rows" else 8  # in place of None


def changed(key: str) -> tuple[Config, Config]:
    """(a configuration, the same with another value of the key)."""
    for base in bases():
        values = to_dict(base)
        value = other_value(key, leaves(values)[key])
        if key == "data.kind":
            del values["data"]["modes"]  # the options of the other task
        with contextlib.suppress(UserError):
            assign(values, key, value)
            return base, from_dict(values)
    raise AssertionError(f"{key}={value} fits no configuration")


def test_every_option_is_covered_or_known_to_be_free(monkeypatch):
    monkeypatch.setitem(FAMILIES, "other", FAMILIES["ar"])  # no second family here can be a teacher's
    free = set()
    for key in leaves(to_dict(bases()[0])).keys() - ONE_VALUE:
        old, new = changed(key)
        assert leaves(to_dict(old))[key] != leaves(to_dict(new))[key], key
        before, after = signed(old), signed(new)
        if all(before[output] == after[output] for output in before.keys() & after.keys()):
            free.add(key)
    assert free == FREE


def test_an_interval_counts_where_patience_counts_evaluations():
    def trained(patience, eval_every):
        base = small_config()
        train = dataclasses.replace(base.student_train, patience=patience, eval_every=eval_every)
        new = dataclasses.replace(base, student_train=train)
        return signatures(make_plan(new), new)["rounds/0/student"]

    assert trained(None, 20) == trained(None, 10)
    assert trained(2, 20) != trained(2, 10)


def test_a_stage_depends_on_what_its_inputs_depend_on():
    """A student's rate is nothing to its teacher, and everything to what is made of the student."""
    base = small_config()
    optim = dataclasses.replace(base.student_train.optim, peak_lr=1.0)
    new = dataclasses.replace(base, student_train=dataclasses.replace(base.student_train, optim=optim))
    before, after = (signatures(make_plan(one), one) for one in (base, new))
    same = [output for output in before if before[output] == after[output]]
    assert same == ["data", "rounds/0/teacher", "rounds/0/distilled", "rounds/0/n_best"]


def test_an_evaluation_depends_on_what_students_learn_from():
    """It measures the valid split's references, or the teacher's translations."""
    models = ("rounds/0/teacher", "rounds/0/student", "rounds/0/teacher")
    stage = Evaluate("rounds/0/eval.json", 0, "data/train", *models)
    made = {"data": "a", "rounds/0/teacher": "b", "rounds/0/student": "c"}
    raw, distilled = (
        signature(stage, small_config(student_data=name), made) for name in ("raw", "distilled")
    )
    assert raw != distilled


def holds_config(value, seen: set[int]) -> bool:
    """Whether a Config can be reached from `value` through attributes and containers of ours."""
    if id(value) in seen:
        return False
    seen.add(id(value))
    if isinstance(value, Config):
        return True
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set):
        parts = list(value)
    elif type(value).__module__.startswith("emnat_jax"):
        parts = list(getattr(value, "__dict__", {}).values())
    else:
        parts = []
    return any(holds_config(part, seen) for part in parts)


@pytest.mark.parametrize(
    "em",
    [
        {},
        {"student_data": "candidates"},
        {"candidates_from": ("student",), "student_data": "selected", "update_teacher": False},
    ],
)
def test_no_stage_gets_the_whole_configuration(em, tmp_path, monkeypatch):
    plan, given = make_plan(small_config(**em)), []
    for kind in {type(stage) for stage in plan}:
        monkeypatch.setattr(kind, "run", lambda stage, *parts: given.append((stage, parts)))
    work = workspace(tmp_path, small_config(**em))
    assert holds_config(work, set())
    driver.run(work)
    assert [stage.output for stage, _ in given] == [stage.output for stage in plan]
    for stage, (options, context) in given:
        assert dataclasses.is_dataclass(options), stage
        json.dumps(to_dict(options))
        assert not holds_config([options, context], set()), stage
