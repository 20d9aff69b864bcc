"""Configurations from dicts, files and the command line: types are kept, mistakes are named."""

import dataclasses
from pathlib import Path

import pytest

from emnat_jax.cli.options import read_config
from emnat_jax.config import Config, DataConfig, ModelConfig, SelectConfig
from emnat_jax.config.convert import differences, from_dict, override, to_config_dict, to_dict
from emnat_jax.errors import UserError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


def test_a_config_survives_the_round_trip():
    config = Config(data=DataConfig(buckets=(4, 8), train_rows=7), select=SelectConfig(alpha=0.5))
    assert from_dict(to_dict(config)) == config
    assert from_dict(to_config_dict(config).to_dict()) == config


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
        ("student.vanilla.odd_penalty", "3", 3.0),
    ],
)
def test_overrides_are_read_as_the_type_of_the_key(key, text, value):
    values = to_dict(Config())
    override(values, key, text)
    found = from_dict(values)
    for part in key.split("."):
        found = getattr(found, part)
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
        lambda: ModelConfig(width=30, heads=4).resolve(10, 8),
        lambda: SelectConfig(rule="best"),
    ],
)
def test_values_out_of_range_are_refused(make):
    with pytest.raises(UserError):
        make()


def test_sizes_fill_only_what_is_not_set():
    model = ModelConfig(size="small", decoder_layers=1, dropout=0.3).resolve(100, 16)
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
