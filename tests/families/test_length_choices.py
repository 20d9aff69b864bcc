"""The option by which each decoder's outputs get longer or shorter."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import (
    FAMILIES,
    AROptions,
    CMLMOptions,
    CTCOptions,
    DAGOptions,
    GLATOptions,
    VanillaOptions,
)
from emnat_jax.families import make_family
from emnat_jax.types import EOS, PAD
from tests import tiny

FEW_VERTICES = DAGOptions(factor=2, link_heads=2)
SEVERAL = {  # with a choice between outputs of different lengths
    "ar": AROptions(beam=4),
    "vanilla": VanillaOptions(length_candidates=3),
    "cmlm": CMLMOptions(length_candidates=3),
    "ctc": CTCOptions(),
    "dag": FEW_VERTICES,
    "glat": GLATOptions(base="dag", base_options=FEW_VERTICES),
}
DECODERS = [(name, decoder) for name, options in SEVERAL.items() for decoder in options.decoders()]
WITHOUT = ("greedy", "lookahead")  # of dag: they compare no two paths


def choices_of(name, decoder):
    options = SEVERAL[name].with_decoder(decoder, name)
    return options, options.length_choices()


@pytest.mark.parametrize(("name", "decoder"), DECODERS)
def test_every_decoder_names_its_option_or_has_none(name, decoder):
    options, choices = choices_of(name, decoder)
    if name in ("dag", "glat") and decoder in WITHOUT:
        assert choices is None
        return
    assert list(choices.values) == sorted(set(choices.values)) and len(choices.values) >= 4
    assert choices.decoder == decoder or name == "ar"
    assert choices.configured in choices.values and options.with_length(choices.configured) == options
    for value in choices.values:
        changed = options.with_length(value)
        assert changed.length_choices().configured == value
        assert changed.with_length(choices.configured) == options
        base, other = (getattr(one, "of_base", one) for one in (options, changed))
        assert {**vars(base), choices.option: value} == vars(other)


def test_the_configured_value_is_always_tried():
    assert 0.33 in CTCOptions(length_reward=0.33).length_choices().values
    assert all(spec.options().length_choices() is not None for spec in (FAMILIES["ar"], FAMILIES["ctc"]))


def test_one_length_leaves_nothing_to_choose():
    assert VanillaOptions().length_choices() is None
    assert GLATOptions(base="vanilla").length_choices() is None
    assert CMLMOptions(length_candidates=1).length_choices() is None


def test_greedy_search_is_tuned_with_a_beam():
    for beam, tuned_with in ((1, 5), (3, 3)):
        choices = AROptions(beam=beam).length_choices()
        assert (choices.decoder, choices.options.beam) == ("beam", tuned_with)
        assert dataclasses.replace(choices.options, beam=beam) == AROptions(beam=beam)


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("ctc", "greedy"),
        pytest.param("ctc", "beam", marks=pytest.mark.slow),
        ("dag", "joint_viterbi"),
        pytest.param("dag", "viterbi", marks=pytest.mark.slow),
        pytest.param("dag", "beam", marks=pytest.mark.slow),
    ],
)
def test_larger_values_make_longer_outputs(name, decoder):
    """The largest against the smallest; a penalty in the order of hypotheses is tested with each family."""
    options, choices = choices_of(name, decoder)
    short, long = (lengths(name, options.with_length(choices.values[end])) for end in (0, -1))
    assert short.sum() < long.sum()  # of a single source they can get shorter: equal neighbours are merged


def lengths(name, options):
    model = tiny.model(name, options)
    sources = [[4, EOS], [EOS], [5, 6, EOS], [6, 6, EOS], [4, 5, 6, EOS], [6, 5, EOS], [6, 4, 5, EOS]]
    source = jnp.asarray(tiny.pad(sources, tiny.MAX_LENGTH))
    decode = jax.jit(make_family(model).decode, static_argnums=3)
    params = jax.tree.map(lambda leaf: 0.5 * leaf, tiny.params(name))  # no length is certain
    return np.sum(np.asarray(decode(params, source, jax.random.key(0), 1).tokens)[:, 0] != PAD, axis=-1)
