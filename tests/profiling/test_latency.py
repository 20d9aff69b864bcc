"""What is timed: whole batches of similar sentences, often enough, with the quality of these sentences."""

import pytest
import sacrebleu

from emnat_jax.config import Scoring
from emnat_jax.inference import model as inference
from emnat_jax.profiling.latency import (
    MIN_CALLS,
    Sentences,
    make_batches,
    measure_latency,
    measured_sentences,
    one_batch,
)
from emnat_jax.runtime.mesh import row_shares
from tests.em.runs import finished_run, round_model, workspace


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir with models of both roles, to be read only."""
    return finished_run(tmp_path_factory)


@pytest.mark.parametrize(
    "size, expected",
    [
        (1, [[1], [3], [4], [0], [2]]),
        (2, [[1, 3], [4, 0], [2, 2]]),
        (3, [[1, 3, 4], [0, 2, 2]]),
        (5, [[1, 3, 4, 0, 2]]),
        (7, [[1, 3, 4, 0, 0, 2, 2]]),
        (12, [[1, 1, 3, 3, 4, 4, 0, 0, 0, 2, 2, 2]]),
    ],
)
def test_batches_are_sorted_by_length_and_always_full(size, expected):
    """Where the sentences do not divide, the longest come again."""
    assert make_batches([7, 2, 9, 3, 4], size) == expected


def test_a_batch_is_timed_as_one_often_enough_and_its_quality_stands_beside(monkeypatch):
    asked, translated, clock = [], [], iter(range(10_000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock) / 1e3)  # every call takes a millisecond

    def make_translate(rows, width):
        def translate(lines):
            asked.append((rows, width))
            translated.extend(lines)
            return [f"{line} 好" for line in lines]

        return translate

    sources, references = ["今天好", "他有猫", "商店"], ["今天好好", "他有猫吗", "商店好"]
    sentences = Sentences(sources, references, [9, 3, 12])
    (found,) = measure_latency(make_translate, sentences, [2], (4, 10, 20), Scoring("zh"))
    passes = MIN_CALLS // 2
    assert asked == [(2, 10), (2, 20)] * (1 + passes)  # the widest of a batch says its bucket
    assert {*translated} == {*sources} and len(translated) == 4 * (1 + passes)
    assert (found.batch, found.calls) == (2, MIN_CALLS)
    assert found.median_ms == pytest.approx(1) and found.p95_ms == pytest.approx(1)
    assert found.sentences_per_second == pytest.approx(2 * 1e3)
    outputs = [f"{line} 好" for line in sources]
    assert found.bleu == sacrebleu.corpus_bleu(outputs, [references], tokenize="zh").score


@pytest.mark.parametrize("role", [pytest.param("teacher", marks=pytest.mark.slow), "student"])
def test_a_batch_of_n_is_one_batch_of_n(finished, role, monkeypatch):
    """Sentences of every bucket together, for the teacher as for the student; outputs are the same."""
    work = workspace(finished)
    model, shares = round_model(work, 0, role), row_shares(work.layout)
    lines = [" ".join(["s1", "s2", "s3", "s4", "s5"][:length]) for length in (3, 4, 5, 3)] * shares
    sentences = measured_sentences(model, lines, lines)
    assert sentences.lengths[:3] == [4, 5, 6]
    shapes = []
    decode = inference.decode_pairs

    def watched(step, params, pairs, machine):
        def seen(params, batch):
            shapes.append(batch.source.shape)
            return step(params, batch)

        return decode(seen, params, pairs, machine)

    expected = model.translate(lines)
    monkeypatch.setattr(inference, "decode_pairs", watched)
    assert one_batch(model, work.layout, len(lines), 6)(lines) == expected
    assert shapes == [(len(lines), 6)]
    rescored = model.rescored_by(round_model(work, 0, "teacher"), 2)
    one_batch(rescored, work.layout, len(lines), 6)(lines)
    assert shapes == [(len(lines), 6)] * 2
