"""Systems and a clock that need no model: a call takes the time that it is said to take."""

import numpy as np

from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.inference.translator import Translator
from emnat_jax.profiling.samples import Sample
from emnat_jax.profiling.systems import About, System
from emnat_jax.tokens import EOS

ABOUT = About("a", "student", None, "jax", "float32")


class Clock:
    """Stands for time.perf_counter; only calls make it go on."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


class Model(Translator):
    """A translator that makes what `run(lines or places, candidates)` makes."""

    config = max_length = batch_rows = None

    def __init__(self, run):
        self.run = run

    def decode(self, pairs, num_candidates=1):
        return self.run(pairs, num_candidates)

    def translate(self, lines):
        return self.run(lines, 1)

    def made_from(self):
        return {}


class Places(Sample):
    """Sources of given lengths; an output is its place, and BLEU the number of outputs."""

    def __init__(self, lengths):
        self.lengths = lengths

    def call(self, model, places, candidates=1):
        return lambda: model.run(list(places), candidates)

    def pairs(self, model):
        return sentence_pairs([np.full(length, EOS, np.int32) for length in self.lengths])

    def target_tokens(self, outputs):
        return 3 * len(outputs)

    def bleu(self, outputs):
        assert outputs == list(range(len(self.lengths))), "each source once, in its order"
        return float(len(outputs))

    @property
    def bleu_signature(self):
        return "fake"


def fake_system(name, clock, log, seconds, unit="rows"):
    """A call takes `seconds(size of its batches)` and enters (name, size, places) into the log."""

    def of_size(size):
        def run(places, candidates):
            log.append((name, size, places))
            clock.now += seconds(size) * candidates
            return places

        return Model(run)

    about = About(name, "student", None, "jax", "float32")
    return System(about, of_size(0), unit, of_size, lambda rows, longest: of_size(rows))
