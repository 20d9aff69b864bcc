"""The E-step over a set: soft outputs, references as candidates, constraints. The set is one of made rows."""

import contextlib
import dataclasses
import json
import shutil

import numpy as np
import pytest
import sacrebleu

from emnat_jax.artifacts.dataset import Provenance, describe_shard, finish_dataset, read_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.artifacts.records import REFERENCE, Row, shard_name, write_shard
from emnat_jax.config import DataConfig, Scoring, SelectConfig
from emnat_jax.data.batches import BatchStream
from emnat_jax.data.pairs import load_pairs
from emnat_jax.data.shard_workers import ShardWorkers
from emnat_jax.errors import UserError
from emnat_jax.estep.scores import Weights
from emnat_jax.estep.selection import Selector, choose_rows, score_table, select
from emnat_jax.estep.statistics import compare_choices, summarise_choices
from emnat_jax.runtime.mesh import DataPart
from emnat_jax.runtime.processes import Processes
from tests.data.in_memory import InMemory
from tests.estep.candidates import REFERENCES, STUDENT, TEACHER0, Letters, chosen, tokens


def posterior(index: int, beta: float = 1.0) -> np.ndarray:
    score = np.array(STUDENT[index]) + beta * np.array(TEACHER0[index])
    return np.exp(score) / np.exp(score).sum()


def test_weighted_records_hold_the_posterior_and_train_with_it(candidates, tmp_path):
    rows, options = chosen(candidates, tmp_path / "soft", output="weighted")
    for index, row in enumerate(rows):
        kept = np.flatnonzero(posterior(index) >= 0.01 * posterior(index).max())
        assert row.scores["rank"].tolist() == kept.tolist()
        wanted = posterior(index)[kept] / posterior(index)[kept].sum()
        np.testing.assert_allclose(row.scores["weight"], wanted, rtol=1e-6)
    pairs = load_pairs(tmp_path / "soft")
    assert (
        pairs.size
        == sum(len(row.targets) for row in rows)
        == round(4 * options["statistics"]["targets_per_source"])
    )
    batch = next(BatchStream(InMemory(pairs), DataConfig(buckets=(4,), batch_tokens=64), seed=0))
    shares = [batch.weight[batch.row == index].sum() for index in range(4)]
    np.testing.assert_allclose(shares, 1.0, rtol=1e-6)


def test_samples_are_the_same_again_and_on_other_processes(candidates, tmp_path):
    first, _ = chosen(candidates, tmp_path / "one", output="sampled")
    again, _ = chosen(candidates, tmp_path / "two", output="sampled")
    assert [row.scores["rank"].tolist() for row in first] == [row.scores["rank"].tolist() for row in again]
    assert all(len(row.targets) == 1 and "weight" not in row.scores for row in first)


def test_a_reference_is_taken_only_where_it_is_asked_for(candidates, tmp_path):
    # The third source's reference is the student's darling.
    with_it, options = chosen(candidates, tmp_path / "with", rule="student_top1")
    without, _ = chosen(candidates, tmp_path / "without", rule="student_top1", include_reference=False)
    assert [row.scores["rank"][0] for row in with_it] == [0, 1, 2, 1]
    assert [row.scores["rank"][0] for row in without] == [0, 1, 0, 1]
    assert options["statistics"]["references"] == 0.25


def test_quality_pulls_to_the_reference(candidates, tmp_path):
    rows, _ = chosen(candidates, tmp_path / "quality", quality_weight=1e3)
    assert [Letters().decode(row.targets[0]) for row in rows] == REFERENCES


class Chinese(Letters):
    """The same without spaces and in other characters."""

    def decode(self, tokens) -> str:
        return super().decode(tokens).translate(str.maketrans("abc", "我你他", " "))


def test_quality_by_bleu_counts_the_tokens_it_is_told_to(candidates, tmp_path):
    row = dataclasses.replace(next(iter(read_dataset(candidates))), target_text="我你他")
    row = dataclasses.replace(row, targets=[tokens(text) for text in ("c a b", "a b c c", "b")])
    config = SelectConfig(quality_weight=1.0, quality="bleu", include_reference=True)
    found = {
        scoring: score_table([row], Selector(config, Chinese(), scoring=scoring)).quality[0]
        for scoring in (Scoring(), Scoring("zh"))
    }
    assert not found[Scoring()].any()  # no line is a word of the reference
    expected = [
        sacrebleu.sentence_bleu(line, ["我你他"], tokenize="zh").score / 100
        for line in ("他我你", "我你他他", "你")
    ]
    np.testing.assert_allclose(found[Scoring("zh")], expected)
    assert min(expected) > 0
    vocabulary = Letters()
    made = select(candidates, tmp_path / "set", config, vocabulary=vocabulary, scoring=Scoring("zh"))
    assert made.options["scoring"] == {"tokenizer": "zh", "lowercase": False, "ter": False}


@pytest.mark.parametrize("output", ["hard", "weighted"])
def test_a_constraint_on_quality_raises_its_weight(candidates, tmp_path, output):
    from emnat_jax.evaluation.bleu import sentence_quality

    free, _ = chosen(candidates, tmp_path / "free", output=output)
    rows, options = chosen(candidates, tmp_path / "constraint", output=output, min_quality=0.9)

    def mean(rows) -> float:
        qualities = [
            np.dot(
                sentence_quality("chrf")(
                    [Letters().decode(target) for target in row.targets], row.target_text
                ),
                row.scores.get("weight", [1.0]),
            )
            for row in rows
        ]
        return float(np.mean(qualities))

    assert mean(free) < 0.9 <= mean(rows) + 2e-2  # weights under a hundredth are left out
    assert options["weights"]["quality"] > 0


def test_a_drift_guard_raises_beta(candidates, tmp_path):
    rows, options = chosen(candidates, tmp_path / "free", alpha=3.0, max_drift=0.3)
    best, drawn = (
        np.array(TEACHER0)[:, 0].mean(),
        np.mean([row.scores["teacher0_log_prob"][0] for row in rows]),
    )
    assert options["weights"]["beta"] > 1 and drawn >= best - 0.3
    assert options["constraint"] == pytest.approx({"teacher0_log_prob": best - 0.3, "reached": drawn})
    loose, options = chosen(candidates, tmp_path / "loose", alpha=3.0, max_drift=9.0)
    assert options["weights"]["beta"] == 1
    assert np.mean([row.scores["teacher0_log_prob"][0] for row in loose]) < best - 0.3


def test_what_cannot_be_reached_or_does_not_go_together_is_refused(candidates, tmp_path):
    with pytest.raises(UserError, match=r"min_quality=1\.0 cannot be met.*reach 0\."):
        chosen(candidates, tmp_path / "a", min_quality=1.0, include_reference=False)
    for option in ({"output": "sampled"}, {"alpha": 2.0}, {"beta": 0.0}, {"quality": "bleu"}):
        with pytest.raises(UserError, match="only rule=posterior"):
            SelectConfig(rule="student_top1", **option)
    assert not SelectConfig(rule="student_top1").needs_quality
    assert not SelectConfig(rule="student_top1", quality_weight=0.0).needs_quality
    with pytest.raises(UserError, match="weighs nothing"):
        SelectConfig(quality="bleu", quality_weight=0.0)
    with pytest.raises(UserError, match="set one of them"):
        SelectConfig(min_quality=0.5, max_drift=0.1)


def test_two_processes_meet_the_constraint_of_one(candidates, tmp_path, monkeypatch):
    """Each has one shard; what they gather is played from one after the other."""
    _, alone = chosen(candidates, tmp_path / "alone", output="weighted", max_drift=0.2, alpha=3.0)
    heard = []

    class Both(Processes):
        def gather(self, name, value):
            return [json.loads(json.dumps(part)) for part in parts(value)]

    def parts(value):
        heard.append(value)
        return (
            [{name: pair} for name, pair in reversed(value.items())] if isinstance(value, dict) else [value]
        )

    workers = ShardWorkers(Both(), DataPart(0, 1, True), lambda text: None)
    _, other = chosen(
        candidates, tmp_path / "both", workers=workers, output="weighted", max_drift=0.2, alpha=3.0
    )
    assert other["weights"] == alone["weights"] and len(heard) > 10


def test_a_finished_set_is_never_written_over(candidates, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(candidates, source)
    before, _ = chosen(source, tmp_path / "out")
    again, _ = chosen(source, tmp_path / "out")
    assert [row.scores["rank"].tolist() for row in again] == [row.scores["rank"].tolist() for row in before]
    for output, options in ((tmp_path / "out", {"rule": "teacher_top1"}), (source, {})):
        with pytest.raises(UserError, match="give a new folder"):
            chosen(source, output, **options)
    assert len(list(read_dataset(source))) == len(list(read_dataset(tmp_path / "out"))) == 4


def test_a_row_with_nothing_but_its_reference_is_left_out_and_counted(candidates, tmp_path):
    lonely = Row(
        9,
        tokens("a"),
        [tokens("a")],
        "a",
        "a",
        {
            "student_log_prob": np.array([-1.0]),
            "teacher0_log_prob": np.array([-1.0]),
            REFERENCE: np.array([1.0]),
        },
    )
    write_shard(tmp_path / shard_name(0, 1), [*read_dataset(candidates), lonely])
    shards = [describe_shard(tmp_path / shard_name(0, 1))]
    provenance = Provenance("candidates", {"vocabulary": "letters"}, {}, seed=1)
    finish_dataset(tmp_path, provenance, shards=shards, rows_in=5, dropped={})
    for output in ("hard", "sampled", "weighted"):
        rows, _ = chosen(tmp_path, tmp_path / output, output=output, include_reference=False)
        assert [row.row for row in rows] == [0, 1, 2, 3]
        assert load_manifest(tmp_path / output).dropped == {"no_candidate": 1}
        assert len(chosen(tmp_path, tmp_path / f"{output} all", output=output)[0]) == 5


def test_many_light_candidates_weigh_together(tmp_path):
    """A hundred and nineteen of 0.8% each, one of 2%: none is left out for being one of many."""
    light = np.full(120, np.log(0.0082))
    light[7] = np.log(0.0242)
    row = Row(
        0, tokens("a"), [tokens("a")] * 120, "a", "a", {"student_log_prob": light, "teacher0_log_prob": light}
    )
    config = SelectConfig(
        output="weighted", beta=0.0, quality_weight=0.0, include_reference=False, normalise_length=False
    )
    (found,) = choose_rows([row], Selector(config), Weights(1, 0))
    assert len(found.targets) == 120 and found.scores["weight"].max() == pytest.approx(0.0242, abs=1e-3)


# Sentence chrF++: n-grams of up to six characters and two words, recall counts twice. "a b c" for "a b" has 2
# of 3 characters and 1 of 2 pairs right, words alike: P = 7/12, R = 1, F = 5 P R / (4 P + R) = 7/8.
FIRST = [7 / 8, 5 / 14, 5 / 13, 0.0]  # of the first candidates; "b a" for "a b c": P = 1/2, R = 1/3
TAKEN = [7 / 8, 1.0, 1.0, 1.0]  # of those that the student likes best


@pytest.mark.parametrize("rows", [4, 3, 1])
def test_choices_are_compared_with_the_references_of_the_first_rows(rows, candidates, tmp_path, monkeypatch):
    """Of the whole set, which has two shards."""
    monkeypatch.setattr("emnat_jax.estep.selection.COMPARED_ROWS", rows)
    found = chosen(candidates, tmp_path / "out", rule="student_top1")[1]["statistics"]
    assert found["compared_rows"] == rows and sum(found["rank_histogram"]) == 4
    assert found["quality"] == pytest.approx(sum(TAKEN[:rows]) / rows)
    assert found["rank1_quality"] == pytest.approx(sum(FIRST[:rows]) / rows)


def test_a_weighted_choice_is_compared_by_its_weights_and_a_row_without_a_reference_not_at_all():
    row = Row(0, tokens("a"), [tokens("a b c"), tokens("c"), tokens("a b")], "a", "a b")
    weights = {"weight": np.array([0.25, 0.75])}
    choice = dataclasses.replace(row, targets=[row.targets[0], row.targets[2]], scores=weights)
    unknown = dataclasses.replace(row, target_text="")
    found = summarise_choices(compare_choices([row, unknown], [choice, unknown], Letters()))
    assert found["quality"] == pytest.approx(0.25 * 7 / 8 + 0.75)
    assert found["rank1_quality"] == pytest.approx(7 / 8) and found["compared_rows"] == 1
    nothing = summarise_choices(compare_choices([unknown], [unknown], Letters()))
    assert nothing["quality"] is nothing["rank1_quality"] is None


def test_two_processes_compare_the_rows_that_one_does(candidates, tmp_path, monkeypatch):
    """Each makes one shard; what the first gathers is given to the second."""
    monkeypatch.setattr("emnat_jax.estep.selection.COMPARED_ROWS", 3)
    _, alone = chosen(candidates, tmp_path / "alone", rule="student_top1")
    heard = []

    class First(Processes):
        def gather(self, name, value):
            if name == "shards verified":
                return [value]
            heard.append(json.loads(json.dumps(value)))
            raise InterruptedError

    class Second(Processes):
        def gather(self, name, value):
            return [value] if name == "shards verified" else [*heard, value]

    for index, processes in enumerate((First(), Second())):
        workers = ShardWorkers(processes, DataPart(index, 2, True), lambda text: None)
        with contextlib.suppress(InterruptedError):
            _, both = chosen(candidates, tmp_path / "both", workers=workers, rule="student_top1")
    assert both["statistics"] == alone["statistics"] and both["statistics"]["compared_rows"] == 3
