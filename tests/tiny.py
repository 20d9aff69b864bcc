"""Families small enough to enumerate: 3 words, 4 tokens at most, widths of 16."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from emnat_jax.config import CTCOptions, DAGOptions, FamilyOptions, ModelConfig, ModelSpec
from emnat_jax.families import Family, make_family
from emnat_jax.types import EOS, PAD, UNK, Batch

WORDS = (4, 5, 6)
VOCAB_SIZE = 7
MAX_LENGTH = 4
LONGEST = 7  # tokens of the longest target that any family can give to a source of three tokens
LARGEST = {"ar": 85}  # number of candidates that a family can give where it is bounded


OPTIONS = {  # where the defaults are too large, or do not find the best output
    "ctc": CTCOptions(decoder="beam"),
    "dag": DAGOptions(factor=2, link_heads=2),
}


def model(name: str, options: FamilyOptions | None = None, **changes) -> ModelSpec:
    """The family `name` in tiny sizes."""
    options = OPTIONS.get(name) if options is None else options
    base = ModelConfig(
        family=name, options=options, encoder_layers=1, decoder_layers=1, width=16, ff_width=32, heads=2
    )
    return dataclasses.replace(base, **changes).resolve(VOCAB_SIZE, MAX_LENGTH)


@functools.cache
def family(name: str, **changes):
    return make_family(model(name, **changes))


@functools.cache
def params(name: str, seed: int = 0, **changes):
    """Random weights, large enough for probabilities far from uniform; drawn on the host, not compiled."""
    return drawn(family(name, **changes), seed)


def drawn(family: Family, seed: int):
    """As `params`, of any family."""
    shapes = jax.eval_shape(family.init, jax.random.key(0))
    random = np.random.default_rng(seed + 1)

    def draw(path, leaf):
        around = 1.0 if path[-1].key == "scale" else 0.0  # a layer norm's
        return jnp.asarray(around + 0.6 * random.standard_normal(leaf.shape, np.float32))

    return jax.tree.map_with_path(draw, shapes)


@functools.cache
def jitted(name: str, function: str, **changes):
    """A compiled function of a family, shared by all tests."""
    static = (3,) if function == "decode" else ()
    return jax.jit(getattr(family(name, **changes), function), static_argnums=static)


def all_targets(longest: int = LONGEST) -> list[tuple[int, ...]]:
    """Words or UNK, then EOS, at most `longest` tokens; no family gives any of more than LONGEST."""
    free = (UNK, *WORDS)
    return [(*words, EOS) for n in range(longest) for words in itertools.product(free, repeat=n)]


def pad(rows, width: int) -> np.ndarray:
    return np.array([[*row, *[PAD] * (width - len(row))] for row in rows], np.int32)


def batch_of(sources, targets) -> Batch:
    n, width = len(targets), max(MAX_LENGTH, *map(len, targets))
    return Batch(
        pad(sources, MAX_LENGTH), pad(targets, width), np.ones(n, np.float32), np.arange(n, dtype=np.int32)
    )


def batch(rows: int = 8, seed: int = 0) -> Batch:
    """Random pairs of all lengths; the last target has the greatest length."""
    rng = np.random.default_rng(seed)

    def sentence(length: int) -> list[int]:
        return [*rng.choice(WORDS, length - 1).tolist(), EOS]

    lengths = [int(n) for n in rng.integers(1, MAX_LENGTH + 1, (rows - 1))] + [MAX_LENGTH]
    return batch_of(
        [sentence(int(rng.integers(2, MAX_LENGTH + 1))) for _ in lengths], [sentence(n) for n in lengths]
    )


def widen(example: Batch, by: int = 3) -> Batch:
    """The same rows with more padding on both sides."""
    source, target = (
        jnp.pad(x, ((0, 0), (0, by)), constant_values=PAD) for x in (example.source, example.target)
    )
    return example.replace(source=source, target=target)
