"""Random teachers, exported, and what their families make of sources."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from emnat_jax.config import AROptions, ModelConfig, ModelSpec
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.export.ctranslate2_runtime import CTranslate2Translator
from emnat_jax.families.ar import NextToken
from emnat_jax.families.base import Family
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.types import BOS, EOS, NUM_SPECIAL, PAD, Batch, is_impossible

VOCAB, MAX_LENGTH, BUCKETS, ROWS = 40, 16, (6, 12), 60
EMPTY = np.zeros(0, np.int32)
TOLERANCE = 1e-3  # of a log-probability
ROUNDING = 2e-5  # of that of a word, between one processor's sums and another's
SHAPES = [  # every norm, every kind of positions, every activation, layers one by one and scanned
    {"norm": "pre", "positions": "learned"},
    {"norm": "post", "positions": "sinusoidal", "activation": "gelu"},
    {"norm": "post", "positions": "learned", "scan_layers": True, "encoder_layers": 2},
    {"norm": "pre", "positions": "sinusoidal", "scan_layers": True, "decoder_layers": 2},
]

NAMES = ("<pad>", "</s>", "<unk>", "<s>", *(f"▁{index}" for index in range(NUM_SPECIAL, VOCAB)))


class Pieces(Vocabulary):
    """What an export asks of a vocabulary."""

    def __init__(self, *names: str):
        self._names = names

    def pieces(self) -> list[str]:
        return list(self._names)


class Pair(NamedTuple):
    """A family with random parameters, and the same exported."""

    spec: ModelSpec
    family: Family
    params: dict
    exported: CTranslate2Translator


def spec_of(shape: int, options: AROptions = AROptions()) -> ModelSpec:
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "ff_width": 32, "heads": 2}
    return ModelConfig(family="ar", options=options, **(sizes | SHAPES[shape])).resolve(VOCAB, MAX_LENGTH)


def random_params(family, shape: int):
    """Weights with which outputs follow their source, and end after few words or many, or not at all."""
    random = np.random.default_rng((1, 0, 2, 0)[shape])

    def draw(path, leaf):
        names = [part.key for part in path]
        scale = 2.4 if "cross" in names else 0.3
        around = 1.0 if names[-1] == "scale" else 0.0  # a layer norm's
        return around + scale * random.standard_normal(leaf.shape, np.float32)

    params = jax.tree.map_with_path(draw, jax.eval_shape(family.init, jax.random.key(0)))
    params["transformer"]["embedding"]["output_bias"][[EOS, BOS, PAD]] = 2.0, 9.0, 9.0
    return params


def sentences(seed: int, shortest: int, count: int = ROWS, longest: int = BUCKETS[-1]) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest, longest + 1, count)
    return [np.append(random.integers(NUM_SPECIAL, VOCAB, n - 1), EOS).astype(np.int32) for n in lengths]


def padded(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    return np.array([np.pad(row, (0, width - len(row))) for row in rows])


class Best(NamedTuple):
    """One hypothesis."""

    tokens: tuple[int, ...]
    log_prob: float
    rank_score: float


def decoded(pair: Pair, sources: Sequence[np.ndarray], count: int) -> list[list[Best]]:
    """The filled hypotheses of the family, of sources padded to their bucket."""
    decode = jax.jit(lambda source: pair.family.decode(pair.params, source, jax.random.key(0), count))
    found: list[list[Best]] = [[] for _ in sources]
    for low, bucket in zip((0, *BUCKETS), BUCKETS, strict=False):
        places = [place for place, row in enumerate(sources) if low < len(row) <= bucket]
        parts = jax.device_get(decode(padded([sources[place] for place in places], bucket)))
        for place, *of_row in zip(places, parts.tokens, parts.log_prob, parts.rank_score, strict=True):
            every = (Best(tuple(t[t != PAD].tolist()), p, r) for t, p, r in zip(*of_row, strict=True))
            found[place] = [one for one in every if not is_impossible(one.rank_score)]
    return found


def listed(pair: Pair, sources: Sequence[np.ndarray], count: int) -> list[list[Best]]:
    """The same of the exported model."""
    found = pair.exported.decode(sentence_pairs(sources), count)
    return [[Best(tuple(t.tolist()), p, r) for t, p, r in zip(*one, strict=True)] for one in found]


Prefix = tuple[tuple[int, ...], float]  # words, log-probability


def searched(
    pair: Pair, sources: Sequence[np.ndarray], beam: int, *, shake: np.random.Generator | None = None
) -> list[list[Best]]:
    """A beam search that ends the prefixes whose EOS is among the best continuations, word by word.

    `shake` stands for arithmetic that rounds in another way: it moves each score by about ROUNDING.
    """
    module, spec = NextToken(pair.spec.transformer), pair.spec

    @jax.jit
    def logits(source, prefix):
        states, output = module.apply({"params": pair.params}, source, prefix)
        return output.logits(states)

    def gains_of(source: np.ndarray, alive: Sequence[Prefix], position: int) -> np.ndarray:
        slots = [np.array(words, np.int32) for words, _ in alive] + [EMPTY] * (beam - len(alive))
        found = logits(padded([source] * beam, BUCKETS[-1]), padded(slots, MAX_LENGTH))[:, position]
        gains = np.asarray(jax.nn.log_softmax(found))[:, :VOCAB]
        return gains if shake is None else gains + ROUNDING * shake.standard_normal(gains.shape)

    def ranked(ended: Sequence[Prefix]) -> list[Best]:
        alpha = spec.options.length_penalty
        found = [Best(tokens, score, score / ((5 + len(tokens)) / 6) ** alpha) for tokens, score in ended]
        return sorted(found, key=lambda one: -one.rank_score)[:beam]

    def search(source: np.ndarray) -> list[Best]:
        limit = spec.transformer.output_length(min(width for width in BUCKETS if len(source) <= width))
        alive: list[Prefix] = [((), 0.0)]
        ended: list[Prefix] = []
        for position in range(limit - 1):
            every = continued(alive, gains_of(source, alive, position))
            ended += [one for one in every[:beam] if one[0][-1] == EOS]
            others = every[:beam] if position == limit - 2 else every
            alive = [one for one in others if one[0][-1] != EOS][:beam]
        last = gains_of(source, alive, limit - 1)[:, EOS] if limit < MAX_LENGTH else np.zeros(beam)
        ended += [((*words, EOS), score + last[k]) for k, (words, score) in enumerate(alive)]
        return ranked(ended)

    return [search(source) for source in sources]


def continued(alive: Sequence[Prefix], gains: np.ndarray) -> list[Prefix]:
    """Every continuation by a word, the best first."""
    found = [
        ((*words, token), score + gains[k, token])
        for k, (words, score) in enumerate(alive)
        for token in range(VOCAB)
    ]
    return sorted(found, key=lambda one: -one[1])


def scores_of(pair: Pair, sources, targets) -> np.ndarray:
    batch = Batch(
        padded(sources, BUCKETS[-1]),
        padded(targets, max(map(len, targets))),
        np.ones(len(targets), np.float32),
        np.arange(len(targets), dtype=np.int32),
    )
    return np.asarray(jax.jit(pair.family.score)(pair.params, batch))
