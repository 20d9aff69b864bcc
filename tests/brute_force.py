"""Answers by enumeration, in float64 and plain Python, for problems small enough to list."""

import dataclasses
import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from emnat_jax.types import EOS, HIDDEN, NEG_INF, PAD


@functools.cache
def all_sequences(vocab: int, length: int) -> np.ndarray:
    """Every sequence, i64[vocab^length, length]."""
    return np.array(list(itertools.product(range(vocab), repeat=length)), int).reshape(vocab**length, length)


def repeats(sequences: np.ndarray) -> np.ndarray:
    """Number of equal neighbours of each sequence."""
    return np.sum(sequences[:, 1:] == sequences[:, :-1], axis=1)


def positionwise_log_prob(log_probs: np.ndarray, sequences: np.ndarray) -> np.ndarray:
    """Sum of `log_probs` [T, V] along each sequence."""
    return np.sum(log_probs[np.arange(log_probs.shape[0]), sequences], axis=1)


def best_deduplicated(log_probs: np.ndarray, penalty: float) -> tuple[int, int, float]:
    """(barred tokens, repeats, log-probability of the rest) of the best sequence under `log_probs` [T, V].

    Fewest barred tokens first, then log-probability - penalty x repeats; an infinite penalty puts
    fewer repeats before any log-probability.
    """
    log_probs = np.asarray(log_probs, np.float64)
    barred = log_probs <= NEG_INF / 2
    sequences = all_sequences(log_probs.shape[1], log_probs.shape[0])
    wrong = positionwise_log_prob(barred.astype(int), sequences)
    sequences = sequences[wrong == wrong.min()]
    score = positionwise_log_prob(np.where(barred, 0.0, log_probs), sequences)
    equal = repeats(sequences)
    if np.isinf(penalty):
        best = np.argmax(np.where(equal == equal.min(), score, -np.inf))
    else:
        best = np.argmax(score - penalty * equal)
    return int(wrong.min()), int(equal[best]), float(score[best])


@dataclasses.dataclass(frozen=True)
class TableModel:
    """An autoregressive model whose next token depends on its whole past through a small hash.

    `log_probs` f64[T, M, V]: position, state of the past, next token. The last position is EOS alone.
    """

    log_probs: np.ndarray

    @property
    def max_length(self) -> int:
        return self.log_probs.shape[0]

    @property
    def vocab(self) -> int:
        return self.log_probs.shape[2]

    def next_state(self, state, token):
        """The state after one more token; the same arithmetic holds for ints and arrays."""
        return (3 * state + token + 1) % self.log_probs.shape[1]

    def score(self, sequence: tuple[int, ...]) -> float:
        """Log-probability of a sequence that ends in EOS."""
        state, total = 0, 0.0
        for position, token in enumerate(sequence):
            total += self.log_probs[position, state, token]
            state = self.next_state(state, token)
        return total

    def targets(self) -> list[tuple[int, ...]]:
        """Every sequence that ends in EOS, has no other, and has a probability."""
        others = [token for token in range(self.vocab) if token != EOS]
        prefixes = (prefix for n in range(self.max_length) for prefix in itertools.product(others, repeat=n))
        return [t for t in ((*prefix, EOS) for prefix in prefixes) if self.score(t) > NEG_INF / 2]


def random_table_model(
    rng: np.random.Generator, *, vocab: int, max_length: int, barred: float = 0.0
) -> TableModel:
    """PAD is never generated, and neither is a share `barred` of the other tokens, by position and state."""
    states = 11
    logits = rng.normal(size=(max_length, states, vocab)) * 2.0
    logits[:, :, EOS] += rng.normal()
    masked = rng.random(logits.shape) < barred
    masked[:, :, EOS] &= rng.random(masked.shape[:2]) < 0.5
    masked[np.all(masked[:, :, 1:], axis=-1), EOS] = False
    masked[:, :, PAD] = True
    masked[-1] = np.arange(vocab) != EOS
    logits = np.where(masked, -np.inf, logits)
    log_probs = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    return TableModel(np.where(masked, NEG_INF, log_probs))


def length_penalty(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


@dataclasses.dataclass(frozen=True)
class Dag:
    """A graph of vertices that emits one token at each vertex of a path from vertex 0 to `last`.

    `log_probs` f64[L, V] of the tokens at each vertex; `links` f64[L, L] of the vertex after each,
    NEG_INF where not allowed.
    """

    log_probs: np.ndarray
    links: np.ndarray
    last: int

    @property
    def max_length(self) -> int:
        return self.last + 1

    @property
    def vocab(self) -> int:
        return self.log_probs.shape[1]

    def paths(self, length: int) -> list[tuple[int, ...]]:
        """Every path of `length` vertices from vertex 0 on, wherever it ends."""
        if length == 0:
            return []
        onward = itertools.combinations(range(1, self.last + 1), length - 1)
        return [path for path in ((0, *rest) for rest in onward) if self.links_score(path) > NEG_INF / 2]

    def paths_to_last(self, length: int) -> list[tuple[int, ...]]:
        return [path for path in self.paths(length) if path[-1] == self.last]

    def links_score(self, path: tuple[int, ...]) -> float:
        return float(sum(self.links[i, j] for i, j in itertools.pairwise(path)))

    def path_score(self, path: tuple[int, ...], tokens: Sequence[int]) -> float:
        """Log-probability of the path with these tokens."""
        return self.links_score(path) + float(sum(self.log_probs[i, t] for i, t in zip(path, tokens)))

    def log_prob(self, tokens: Sequence[int]) -> float:
        """Log-probability of the tokens over all paths to `last`."""
        return self._total(self.paths_to_last(len(tokens)), tokens)

    def score(self, tokens: Sequence[int]) -> float:
        """Log-probability that the output begins with these tokens."""
        return self._total(self.paths(len(tokens)), tokens)

    def best_path(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The most probable path to `last` for these tokens; empty where there is none."""
        paths = self.paths_to_last(len(tokens))
        possible = [path for path in paths if self.path_score(path, tokens) > NEG_INF / 2]
        return max(possible, key=lambda path: self.path_score(path, tokens), default=())

    def targets(self) -> list[tuple[int, ...]]:
        """Every sequence of some probability that ends in EOS and has no other."""
        others = [token for token in range(self.vocab) if token != EOS]
        prefixes = (p for n in range(self.max_length) for p in itertools.product(others, repeat=n))
        return [t for t in ((*prefix, EOS) for prefix in prefixes) if self.log_prob(t) > NEG_INF / 2]

    def _total(self, paths, tokens) -> float:
        total = float(np.logaddexp.reduce([self.path_score(path, tokens) for path in paths], initial=-np.inf))
        return total if total > NEG_INF / 2 else NEG_INF


def random_dag(
    rng: np.random.Generator,
    *,
    vertices: int,
    vocab: int,
    last: int,
    barred: float = 0.0,
    bound: int | None = None,
) -> Dag:
    """Every token is one like the others, at `last` too; a share `barred` of links and tokens is not allowed.

    Links go from i to at most i + bound, and none leaves the vertices up to `last`; a vertex may have none.
    """
    step = np.arange(vertices)[None] - np.arange(vertices)[:, None]
    masked = (step < 1) | (step > (bound or vertices)) | (np.arange(vertices)[None] > last)
    masked |= rng.random(masked.shape) < barred
    log_probs = rng.normal(size=(vertices, vocab)) * 2.0
    return Dag(
        _normalised(log_probs, rng.random(log_probs.shape) < barred),
        _normalised(rng.normal(size=masked.shape), masked),
        last,
    )


def ending_dag(rng: np.random.Generator, **options) -> Dag:
    """As `random_dag`, with outputs: EOS at `last` and nowhere else, PAD never, no vertex without a link."""
    dag = random_dag(rng, **options)
    at_last = np.arange(len(dag.links)) == dag.last
    masked = (dag.log_probs <= NEG_INF / 2) | at_last[:, None]
    masked[:, EOS] = ~at_last
    masked[:, PAD] = True
    masked[:, EOS + 1] &= at_last
    without = dag.links <= NEG_INF / 2
    without[np.arange(dag.last), np.arange(dag.last) + 1] = False
    log_probs, links = (rng.normal(size=m.shape) * 2.0 for m in (masked, without))
    return Dag(_normalised(log_probs, masked), _normalised(links, without), dag.last)


def _normalised(logits: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """Log-softmax over what is not masked, NEG_INF elsewhere; a row may be masked as a whole."""
    logits = np.where(masked, NEG_INF, logits)
    total = np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return np.where(masked, NEG_INF, logits - total)


def exhaustive_best(model: TableModel | Dag, count: int, alpha: float) -> list[tuple[tuple[int, ...], float]]:
    """The `count` best of all targets, best first, with their rank scores."""
    scored = [(t, model.score(t) / length_penalty(len(t), alpha)) for t in model.targets()]
    return sorted(scored, key=lambda pair: -pair[1])[:count]


def plain_beam(model: TableModel | Dag, beam: int, alpha: float) -> list[tuple[tuple[int, ...], float]]:
    """Beam search without cache, early stop or arrays: prefixes are lists, scored from scratch."""
    alive, finished = [((), 0.0)], []
    for _ in range(model.max_length):
        grown = [
            ((*prefix, token), model.score((*prefix, token)))
            for prefix, _ in alive
            for token in range(model.vocab)
        ]
        grown = [pair for pair in grown if pair[1] > NEG_INF / 2]
        finished += [(t, s / length_penalty(len(t), alpha)) for t, s in grown if t[-1] == EOS]
        alive = sorted((p for p in grown if p[0][-1] != EOS), key=lambda pair: -pair[1])[:beam]
    return sorted(finished, key=lambda pair: -pair[1])[:beam]


def fitted_log_prob(corpus: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """log p of each target under the factorised model that fits one source's targets best.

    `corpus` gives each target's probability; the model is p(length) x product of p(token | length, place)
    (docs/method.md, section 13.2).
    """
    lengths, tokens = defaultdict(float), defaultdict(float)
    for target, share in corpus.items():
        lengths[len(target)] += share
        for place, token in enumerate(target):
            tokens[len(target), place, token] += share

    def log_prob(target: tuple[str, ...]) -> float:
        total = lengths[len(target)]
        ratios = [tokens[len(target), place, token] / total for place, token in enumerate(target)]
        return float(np.log(total) + np.sum(np.log(ratios)))

    return {target: log_prob(target) for target in corpus}


def collapsed(alignment: tuple[int, ...], blank: int = PAD) -> tuple[int, ...]:
    """What a CTC alignment reads as: no repeats, then no blanks."""
    return tuple(token for token, _ in itertools.groupby(alignment) if token != blank)


def ctc_outputs(log_probs: np.ndarray) -> dict[tuple[int, ...], tuple[float, float]]:
    """Of every output of frames [L, V] its log-probability, and that of its best alignment."""
    table = defaultdict(list)
    for alignment in all_sequences(log_probs.shape[1], log_probs.shape[0]):
        log_prob = float(log_probs[np.arange(len(alignment)), alignment].sum())
        table[collapsed(tuple(alignment.tolist()))].append(log_prob)
    return {output: (float(np.logaddexp.reduce(values)), max(values)) for output, values in table.items()}


def ctc_alignments(log_probs: np.ndarray, output: tuple[int, ...]) -> list[tuple[tuple[int, ...], float]]:
    """Every alignment of frames [L, V] that reads as `output`, the most probable first."""
    alignments = itertools.product(sorted({PAD, *output}), repeat=len(log_probs))
    table = [(a, float(sum(log_probs[range(len(a)), a]))) for a in alignments if collapsed(a) == output]
    return sorted(table, key=lambda pair: -pair[1])


def mask_predict(
    predict: Callable[[list[int]], np.ndarray], length: int, width: int, iterations: int
) -> tuple[list[int], float, float]:
    """(tokens with EOS, confidence, log-probability in the first pass) of one row, position by position.

    `predict` gives f64[T, V] for the `width` tokens that are shown.
    """
    free = range(length - 1)
    first = predict([HIDDEN] * width)
    tokens = [int(np.argmax(first[place])) for place in range(length)]
    best = [float(first[place, token]) for place, token in enumerate(tokens)]
    for done in range(1, iterations):
        count = len(free) * (iterations - done) // iterations
        hidden = sorted(free, key=lambda place: best[place])[:count]
        again = predict([tokens[p] if p in free and p not in hidden else HIDDEN for p in range(width)])
        for place in hidden:
            tokens[place] = int(np.argmax(again[place]))
            best[place] = float(again[place, tokens[place]])
    return tokens, sum(best), float(sum(first[range(length), tokens]))
