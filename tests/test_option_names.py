"""A value that an option cannot have is refused by the name under which it was given."""

import re

import pytest

from emnat_jax.cli.configuration import read_config
from emnat_jax.config import DataConfig, ModelConfig
from emnat_jax.errors import UserError


@pytest.mark.parametrize(
    "key, value, advised",
    [
        ("data.buckets", "(8,8)", ""),
        ("data.batch_tokens", "0", ""),
        ("vocab.size", "3", ""),
        ("vocab.model", "bytes", ""),
        ("teacher.dropout", "2", ""),
        ("student.dtype", "int8", ""),
        ("student.activation", "swish", "relu, gelu"),
        ("teacher.init", "uniform", "glorot, normal"),
        ("student.width", "30", "student.heads=4"),
        ("teacher.heads", "0", ""),
        ("teacher.attention", "cudnn", "teacher.dtype=bfloat16 and teacher.attention_dropout=0.0"),
        ("student.vanilla.decoder", "x", "odd, argmax"),
        ("student.vanilla.odd_penalty", "-1", ""),
        ("student.vanilla.decoder_input", "uniform", "pad, source"),
        ("teacher_train.steps", "0", ""),
        ("student_train.ema_decay", "1.5", ""),
        ("student_train.objective", "bleu", "likelihood, ngram"),
        ("student_train.optim.peak_lr", "0", ""),
        ("teacher_train.optim.schedule", "flat", ""),
        ("em.rounds", "-1", ""),
        ("em.student_data", "candidate", ""),
        ("em.student_data", "distilled", "em.update_teacher=True"),
        ("select.max_drift", "-1", ""),
        ("select.quality", "rouge", "chrf, bleu"),
        ("teacher_train.optim.method", "sgd", "adamw, muon"),
        ("evaluation.samples", "-1", ""),
        ("evaluation.tokenizer", "flores200", "None or one of 13a, intl, zh"),
        ("mesh.rules.vocab", "rows", "None or one of data, fsdp, model"),
        ("seed", "-1", ""),
    ],
)
def test_a_value_out_of_range_is_named_by_the_key_that_was_given(key, value, advised):
    with pytest.raises(UserError) as caught:
        read_config([f"--config.{key}={value}"])
    assert str(caught.value).startswith(f"{key}=") and advised in str(caught.value)


@pytest.mark.parametrize(
    "family, key, value, advised",
    [
        ("dag", "dag.max_jump", "3", "student.dag.factor=4, .*the last of data.buckets"),
        ("ctc", "ctc.beam", "0", "positive"),
        ("glat", "glat.end_ratio", "2", "from 0 to 1"),
        ("glat", "glat.vanilla.decoder", "x", "odd, argmax"),
    ],
)
def test_options_of_a_family_are_named_by_their_whole_key(family, key, value, advised):
    with pytest.raises(UserError, match=rf"^student\.{re.escape(key)}=.*{advised}"):
        read_config([f"--config.student.family={family}", f"--config.student.{key}={value}"])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ModelConfig(dropout=2.0), "dropout=2.0: use a number from 0 to below 1."),
        (lambda: DataConfig(buckets=()), "buckets=(): give increasing widths of at least 2 tokens."),
    ],
)
def test_in_python_an_option_is_named_by_its_field(make, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        make()
