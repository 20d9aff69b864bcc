"""Configurations from dicts, files and the command line: types are kept, mistakes are named."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from emnat_jax.cli.configuration import read_config
from emnat_jax.config import (
    FAMILIES,
    AROptions,
    CMLMOptions,
    Config,
    CTCOptions,
    DAGOptions,
    DataConfig,
    FamilyOptions,
    FamilySpec,
    GLATOptions,
    MeshConfig,
    ModelConfig,
    ModelSpec,
    ModesOptions,
    OptimConfig,
    SelectConfig,
    VanillaOptions,
)
from emnat_jax.config.convert import differences, from_dict, override, to_config_dict, to_dict
from emnat_jax.errors import UserError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


def test_a_config_survives_the_round_trip():
    config = Config(data=DataConfig(buckets=(4, 8), train_rows=7), select=SelectConfig(alpha=0.5))
    assert from_dict(to_dict(config)) == config
    assert from_dict(to_config_dict(config).to_dict()) == config


GLAT_OF_DAG = GLATOptions(base="dag", base_options=DAGOptions(factor=3), end_ratio=0.1)


@pytest.mark.parametrize("options", [None, CTCOptions(decoder="beam"), GLAT_OF_DAG])
def test_options_stand_under_the_name_of_their_family(options):
    family = {type(None): "vanilla", CTCOptions: "ctc", GLATOptions: "glat"}[type(options)]
    config = dataclasses.replace(Config(), student=ModelConfig(family=family, options=options))
    values = to_dict(config)
    assert {name for name in FAMILIES if name in values["student"]} == {family}
    assert from_dict(values) == from_dict(json.loads(json.dumps(values))) == config
    assert from_dict(to_config_dict(config).to_dict()) == config
    model = config.student.resolve(100, 16)
    assert from_dict(to_dict(model), ModelSpec) == model
    assert "options" not in json.dumps(values) + json.dumps(to_dict(model))


def test_a_model_of_before_activation_and_init_could_be_chosen_has_the_defaults():
    model = ModelConfig(family="vanilla").resolve(vocab_size=100, max_length=8)
    values = to_dict(model)
    values["transformer"] = {
        name: value for name, value in values["transformer"].items() if name not in ("activation", "init")
    }
    assert from_dict(values, ModelSpec) == model
    assert (model.transformer.activation, model.transformer.init) == ("relu", "glorot")


def test_a_config_file_may_set_the_options_of_any_family():
    values = to_config_dict()
    values.student.family, values.student.glat.base, values.student.glat.dag.factor = "glat", "dag", 3
    values.data.kind, values.data.modes.words = "modes", 9
    config = from_dict(values.to_dict())
    assert config.student.options == GLATOptions(base="dag", base_options=DAGOptions(factor=3))
    assert config.data.options == config.data.task_options == ModesOptions(words=9)
    with pytest.raises(AttributeError, match="factor"):
        values.student.ctc.fctor = 3


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"student.dag.decoder": "greedy"}, "student.dag.decoder: student.family=ctc"),
        ({"student.family": "glat", "student.glat.ctc.factor": "3"}, "glat.ctc.factor: .*base=vanilla"),
        ({"data.modes.words": "9"}, "data.modes.words: data.kind=demo"),
        ({"student.family": "nat"}, "student.family='nat': choose one of ar, .*--config=FILE.py"),
        ({"student.family": "glat", "student.glat.base": "cmlm"}, "glat.base='cmlm': .*vanilla, ctc, dag"),
    ],
)
def test_options_of_what_is_not_chosen_are_refused(changes, part):
    values = to_dict(Config())
    for key, text in changes.items():
        override(values, key, text)
    with pytest.raises(UserError, match=part):
        from_dict(values)


@pytest.mark.parametrize("reverse", [False, True])
def test_family_and_options_come_in_any_order(reverse):
    arguments = ["--config.student.family=ctc", "--config.student.ctc.decoder=beam"]
    config = read_config(arguments[::-1] if reverse else arguments)
    assert (config.student.family, config.student.options) == ("ctc", CTCOptions(decoder="beam"))


@dataclasses.dataclass(frozen=True)
class OwnOptions(FamilyOptions):
    """Those of a family from outside."""

    depth: int = 3


def test_a_family_from_outside_has_options_like_any_other(monkeypatch):
    monkeypatch.setitem(FAMILIES, "own", FamilySpec(OwnOptions, make=lambda spec, options: None))
    config = read_config(["--config.student.family=own", "--config.student.own.depth=4"])
    assert config.student.family_options == OwnOptions(depth=4)
    assert from_dict(to_config_dict(config).to_dict()) == config
    with pytest.raises(UserError, match=r"student.own.dept; did you mean student.own.depth\?"):
        read_config(["--config.student.own.dept=4"])
    saved = to_dict(config)
    monkeypatch.delitem(FAMILIES, "own")
    with pytest.raises(UserError, match="student.family='own'.*--config=FILE.py"):
        from_dict(saved)


def test_what_is_asked_of_a_family_without_running_it():
    of = {name: spec.options() for name, spec in FAMILIES.items()}
    assert [name for name in of if not of[name].is_parallel] == ["ar"]
    assert [name for name in of if of[name].is_glanceable] == ["vanilla", "ctc", "dag"]
    assert {name: options.decoder_positions(5, 7) for name, options in of.items()} == {
        "ar": 7,
        "vanilla": 7,
        "cmlm": 7,
        "glat": 7,
        "ctc": 10,
        "dag": 20,
    }
    assert {name: options.length_candidates for name, options in of.items()} == {
        "ar": None,
        "vanilla": 1,
        "cmlm": 3,
        "glat": 1,
        "ctc": None,
        "dag": None,
    }
    glat = ModelConfig(family="glat").resolve(10, 8).with_length_candidates(5)
    assert glat.options == GLATOptions(base_options=VanillaOptions(length_candidates=5))
    with pytest.raises(UserError, match="family dag decodes one length"):
        ModelConfig(family="glat", options=GLAT_OF_DAG).resolve(10, 8).with_length_candidates(5)
    assert GLAT_OF_DAG.decoder_positions(5, 7) == 15
    assert [name for name in of if "ngram" in of[name].objectives] == ["ctc", "dag"]


@pytest.mark.parametrize(
    ("family", "refused"),
    [("ctc", None), ("dag", None), ("glat.dag", None), ("glat", "family glat"), ("cmlm", "family cmlm")],
)
def test_only_families_with_alignments_or_paths_are_trained_for_ngrams(family, refused):
    name, _, base = family.partition(".")
    keys = [f"--config.student.family={name}", "--config.student_train.objective=ngram"]
    keys += [f"--config.student.glat.base={base}"] if base else []
    if refused is None:
        assert read_config(keys).student_train.objective == "ngram"
        return
    with pytest.raises(UserError, match=f"^student_train.objective=ngram: the {refused} .* ctc and dag have"):
        read_config(keys)


def test_options_of_another_family_are_refused():
    with pytest.raises(UserError, match="^family='ctc' with CMLMOptions"):
        ModelConfig(family="ctc", options=CMLMOptions())


def test_roles():
    config = Config()
    assert config.role("teacher") == (config.teacher, config.teacher_train)
    assert config.role("student").train == config.student_train
    with pytest.raises(UserError, match="choose one of teacher, student"):
        config.role("nar")


def test_configuration_needs_no_jax():
    code = (
        "import sys, emnat_jax.config, emnat_jax.config.convert; "
        "print({'jax', 'numpy', 'flax', 'etils'} & {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_gives_a_configuration_and_says_how_to_run_it(path):
    config = read_config([f"--config={path}"])
    assert isinstance(config, Config)
    command = "sweep" if path.name.endswith("_grid.py") else "em"
    assert f"emnat {command} --config=configs/{path.name}" in path.read_text()


def test_the_quickstart_is_the_default():
    assert read_config([f"--config={CONFIGS[0].parent / 'quickstart.py'}"]) == Config()


@pytest.mark.parametrize(
    "key, text, value",
    [
        ("em.rounds", "5", 5),
        ("select.alpha", "2", 2.0),
        ("data.buckets", "(4,8)", (4, 8)),
        ("data.buckets", "[4, 8]", (4, 8)),
        ("data.train_rows", "None", None),
        ("data.root", "2024", "2024"),
        ("data.root", "None", None),
        ("em.warm_start", "False", False),
        ("em.warm_start", "true", True),
        ("student_train.ema_decay", "None", None),
        ("student.ctc.length_reward", "3", 3.0),
    ],
)
def test_overrides_are_read_as_the_type_of_the_key(key, text, value):
    values = to_dict(Config())
    override(values, key, text)
    found = to_dict(from_dict(values))
    for part in key.split("."):
        found = found[part]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "key, text, part",
    [
        ("em.ronds", "5", "did you mean em.rounds?"),
        ("emm.rounds", "5", "did you mean em?"),
        ("em.rounds", "five", "em.rounds='five'"),
        ("em.rounds", "2.5", "type int"),
        ("em.warm_start", "1", "type bool"),
        ("em.rounds.x", "5", "not a group"),
        ("data.buckets", "8", "a list of numbers"),
        ("teacher_train.steps", "2147483648", "teacher_train.steps: a number of that size"),
        ("teacher_train.optim.peak_lr", "1" + "0" * 400, "peak_lr: a number of that size"),
        ("select.alpha", "1e400", "select.alpha=inf: expected a finite number"),
        ("em.stop_min_gain", "-1e400", "em.stop_min_gain=-inf: expected a finite number"),
    ],
)
def test_mistakes_in_overrides_are_named(key, text, part):
    with pytest.raises(UserError, match=part.replace("?", r"\?")):
        override(to_dict(Config()), key, text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataConfig(kind="csv"),
        lambda: DataConfig(buckets=(8, 8)),
        lambda: DataConfig(buckets=()),
        lambda: DataConfig(batch_tokens=0),
        lambda: DataConfig(train_rows=-1),
        lambda: ModelConfig(dropout=1.0),
        lambda: ModelConfig(size="huge"),
        lambda: ModelConfig(width=1 << 30),
        lambda: from_dict({"em": {3: 4}}),
        lambda: from_dict({"teacher_train": {"optim": {"peak_lr": 10**400}}}),
        lambda: ModelConfig(encoder_layers=0),
        lambda: ModelConfig(decoder_layers=-1),
        lambda: ModelConfig(extra_length=-1),
        lambda: OptimConfig(clip_norm=0.0),
        lambda: OptimConfig(b2=1.0),
        lambda: OptimConfig(weight_decay=-0.1),
        lambda: AROptions(beam=0),
        lambda: MeshConfig(fsdp=-1, model=-1),
        lambda: ModelConfig(width=30, heads=4).resolve(10, 8),
        lambda: SelectConfig(rule="best"),
    ],
)
def test_values_out_of_range_are_refused(make):
    with pytest.raises(UserError):
        make()


def test_teachers_write_word_by_word_and_students_in_parallel():
    with pytest.raises(UserError, match="student.family=ar is not for a student; use vanilla or cmlm or"):
        Config(student=ModelConfig(size="small"))
    with pytest.raises(UserError, match="teacher.family=ctc is not for a teacher; use ar"):
        Config(teacher=ModelConfig(family="ctc"))


def test_sizes_fill_only_what_is_not_set():
    model = ModelConfig(size="small", decoder_layers=1, dropout=0.3).resolve(100, 16).transformer
    assert (model.encoder_layers, model.decoder_layers, model.width, model.ff_width) == (5, 1, 256, 1024)
    assert (model.attention_dropout, model.ff_dropout, model.vocab_size, model.max_length) == (
        0.3,
        0.3,
        100,
        16,
    )


def test_differences_are_dotted_names():
    old = to_dict(Config())
    new = to_dict(dataclasses.replace(Config(), seed=2, data=DataConfig(buckets=(4,))))
    assert differences(old, new) == ["data.buckets", "seed"]
