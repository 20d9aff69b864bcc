"""What is timed: whole batches of similar sentences, often enough, with the quality of these sentences."""

import pytest
import sacrebleu

from emnat_jax.config import Scoring
from emnat_jax.inference import model as inference
from emnat_jax.profiling.latency import MIN_CALLS, make_batches, measure_latency
from emnat_jax.profiling.random_models import RandomSize
from emnat_jax.profiling.samples import TextSample, text_sample
from emnat_jax.profiling.systems import System, trained_system
from emnat_jax.runtime.mesh import row_shares
from tests.em.runs import finished_run, round_model, workspace
from tests.profiling.fakes import ABOUT, Clock, Model, Places, fake_system


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
    clock, asked, translated = Clock(monkeypatch), [], []

    def at_once(rows, longest):
        def run(lines, _):
            clock.now += 1e-3
            asked.append((rows, longest))
            translated.extend(lines)
            return [f"{line} 好" for line in lines]

        return Model(run)

    sources, references = ["今天好", "他有猫", "商店"], ["今天好好", "他有猫吗", "商店好"]
    vocabulary = RandomSize("tiny", 20, 5).vocabulary()
    sample = TextSample(sources, references, [9, 3, 12], vocabulary, Scoring("zh"))
    system = System(ABOUT, at_once(0, 0), "rows", lambda size: at_once(0, 0), at_once)
    ((found,),) = measure_latency([system], sample, [2])
    passes = MIN_CALLS // 2
    assert asked == [(2, 9), (2, 12)] * (1 + passes)  # the longest of each batch
    assert {*translated} == {*sources} and len(translated) == 4 * (1 + passes)
    assert (found.batch, found.calls, found.ratio) == (2, MIN_CALLS, 1.0)
    assert (found.median_ms, found.p95_ms, found.mean_ms) == pytest.approx((1, 1, 1))
    assert found.sentences_per_second == pytest.approx(2 * 1e3)
    outputs = [f"{line} 好" for line in sources]
    assert found.bleu == sacrebleu.corpus_bleu(outputs, [references], tokenize="zh").score


def test_systems_take_turns_and_stand_against_the_first(monkeypatch):
    clock, log = Clock(monkeypatch), []
    systems = [
        fake_system("slow", clock, log, lambda size: size),
        fake_system("fast", clock, log, lambda _: 1),
    ]
    slow, fast = measure_latency(systems, Places([4, 3, 2]), [1, 2])
    turns = [name for name, size, _ in log if size == 2][4:]  # without the first passes, of two batches each
    assert turns == ["slow", "fast"] * MIN_CALLS
    places = [places for name, size, places in log if size == 2]
    assert places[4:8] == [[2, 1], [2, 1], [0, 0], [0, 0]]  # the same batch, one system after the other
    assert [item.ratio for item in slow] == [1, 1] and [item.ratio for item in fast] == [1, 2]
    assert slow[1].first_pass_seconds == 4  # of its two batches, in none of the others
    assert slow[1].median_ms == 2e3 and slow[1].bleu == 3.0


@pytest.mark.parametrize("role", [pytest.param("teacher", marks=pytest.mark.slow), "student"])
def test_a_batch_of_n_is_one_batch_of_n(finished, role, monkeypatch):
    """Sentences of every bucket together, for the teacher as for the student; outputs are the same."""
    work = workspace(finished)
    model, shares = round_model(work, 0, role), row_shares(work.layout)
    lines = [" ".join(["s1", "s2", "s3", "s4", "s5"][:length]) for length in (3, 4, 5, 3)] * shares
    assert text_sample(model.vocabulary, 8, lines, lines).lengths[:3] == [4, 5, 6]
    shapes = []
    decode = inference.decode_pairs

    def watched(step, params, pairs, machine):
        def seen(params, batch):
            shapes.append(batch.source.shape)
            return step(params, batch)

        return decode(seen, params, pairs, machine)

    expected = model.translate(lines)
    monkeypatch.setattr(inference, "decode_pairs", watched)
    system = trained_system(ABOUT, model, work.layout, (6, 8))
    assert system.at_once(len(lines), 5).translate(lines) == expected
    assert shapes == [(len(lines), 6)]
    rescored = model.rescored_by(round_model(work, 0, "teacher"), 2)
    trained_system(ABOUT, rescored, work.layout, (6, 8)).at_once(len(lines), 6).translate(lines)
    assert shapes == [(len(lines), 6)] * 2
