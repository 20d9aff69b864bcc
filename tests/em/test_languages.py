"""Runs into languages without spaces, with test sentences longer than the buckets."""

import dataclasses
import json
import random

import pytest
import sacrebleu
from sacrebleu.tokenizers import tokenizer_ja_mecab

from emnat_jax.config import DataConfig, EMConfig, EvaluationConfig, SelectConfig, VocabConfig
from emnat_jax.em.driver import rebuild_report, run
from emnat_jax.em.evaluate import EvaluationOptions
from emnat_jax.em.stages.select import SelectOptions
from emnat_jax.errors import UserError
from emnat_jax.report.convert import to_json
from tests.em.runs import PAPER_LOOP, run_em, small_config, workspace

WORDS = {"zh": "我你他她有是看吃喝去", "th": "กขคงจชดตนม"}
LONG = 4  # test sentences longer than the bucket
WIDTH = 14  # of the bucket; one for all runs, whose programs are then compiled once


def config_of(folder, language: str, rounds: int = 0):
    """Digits into characters of the language; the first LONG lines of the test split are of 12."""
    draw = random.Random(1)
    for split, count in (("train", 90), ("valid", 16), ("test", 16)):
        lines = [[draw.randrange(10) for _ in range(draw.randint(3, 6))] for _ in range(count)]
        if split == "test":
            lines[:LONG] = [[draw.randrange(10) for _ in range(12)] for _ in range(LONG)]
        write(folder / f"{split}.x", [" ".join(map(str, line)) for line in lines])
        write(folder / f"{split}.{language}", ["".join(WORDS[language][i] for i in line) for line in lines])
    files = {f"{split}_source": str(folder / f"{split}.x") for split in ("train", "valid", "test")}
    files |= {f"{split}_target": str(folder / f"{split}.{language}") for split in ("train", "valid", "test")}
    data = DataConfig(
        kind="text",
        source_language="x",
        target_language=language,
        buckets=(WIDTH,),
        batch_tokens=256,
        **files,
    )
    return dataclasses.replace(
        small_config(),
        data=data,
        vocab=VocabConfig(size=60, model="char"),
        em=EMConfig(rounds=rounds, candidates=2, rows=40, **PAPER_LOOP),
    )


def write(path, lines) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("language, tokenizer, rounds", [("zh", "zh", 1), ("th", "char", 0)])
@pytest.mark.slow
def test_every_score_of_a_run_counts_the_tokens_of_its_language(tmp_path, language, tokenizer, rounds):
    config = config_of(tmp_path, language, rounds)
    config = dataclasses.replace(config, evaluation=EvaluationConfig(ncm_rows=32, samples=2, ter=True))
    said: list[str] = []
    work = workspace(tmp_path / "run", config)
    work.log = work.context.log = said.append
    report = run_em_of(work)
    references = (tmp_path / f"test.{language}").read_text().splitlines()
    for found in report["rounds"]:
        for system in ("teacher", "student", "student_rescored"):
            path = tmp_path / f"run/rounds/{found['round']}/outputs/test.{system}.txt"
            outputs, scores = path.read_text().splitlines(), found[system]["test"]
            expected = sacrebleu.corpus_bleu(outputs, [references], tokenize=tokenizer)
            assert scores["bleu"] == expected.score and f"tok:{tokenizer}|" in scores["bleu_signature"]
            assert scores["length_ratio"] == expected.sys_len / expected.ref_len
            assert scores["ter"] > 0 and f"tok:{tokenizer}+" in scores["ter_signature"]
    assert {effect["signature"].split("tok:")[1].split("|")[0] for effect in report["effects"]} == (
        {tokenizer} if rounds else set()
    )
    assert [bucket["tokens"] for bucket in report["by_length"]["0"]][-1] == "11-20"  # the LONG ones have 12
    written = [(tmp_path / "run/report" / name).read_text() for name in ("index.html", "table.txt")]
    assert all(f"tok:{tokenizer}" in text for text in written)
    assert not any("without spaces" in line for line in said)


def run_em_of(work) -> dict:
    """Runs all rounds; the report as report.json has it."""
    return to_json(run(work))


@pytest.mark.slow
def test_cut_sources_are_said_where_the_scores_stand(tmp_path):
    config = config_of(tmp_path, "zh")
    data = dataclasses.replace(config.data, test_multi=str(tmp_path / "multi.tsv"))
    config = dataclasses.replace(config, data=data)
    sources, targets = ((tmp_path / f"test.{end}").read_text().splitlines() for end in ("x", "zh"))
    write(tmp_path / "multi.tsv", [f"{x}\t{y}\t{y}" for x, y in zip(sources, targets, strict=True)])
    said: list[str] = []
    work = workspace(tmp_path / "run", config)
    work.log = work.context.log = said.append
    report = run_em_of(work)
    lengths = [len(tokens) + 1 for tokens in work.vocabulary.encode(sources)]
    numbers = [number for number, length in enumerate(lengths, 1) if length > WIDTH]
    assert numbers[:LONG] == [1, 2, 3, 4] and len(numbers) < 16
    expected = {"sources": len(numbers), "share": len(numbers) / 16, "limit": WIDTH, "lines": numbers[:3]}
    cut = report["rounds"][0]["cut"]
    assert cut == [{"split": split, **expected} for split in ("test", "test_multi")]
    assert json.loads((tmp_path / "run/rounds/0/eval.json").read_text())["cut"] == cut
    says = f"{len(numbers)} test sources ({len(numbers) / 16:.1%}) have more than {WIDTH} tokens"
    assert sum(says in line for line in said) == 1 and any("data.buckets" in line for line in said)
    for name in ("index.html", "table.txt"):
        assert says in (tmp_path / "run/report" / name).read_text()


@pytest.mark.slow
def test_a_target_language_that_was_not_given_is_remarked(tmp_path):
    """The configuration says English, the references are Chinese: the remedy that is named works."""
    config = config_of(tmp_path, "zh")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, target_language="en"))
    said: list[str] = []
    work = workspace(tmp_path / "run", config)
    work.log = work.context.log = said.append
    run_em_of(work)
    (remark,) = (line for line in said if "without spaces" in line)
    assert "delete rounds/0/eval.json and go on with evaluation.tokenizer=zh" in remark
    right = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, tokenizer="zh"))
    with pytest.raises(UserError, match="evaluation.tokenizer: rounds/0/eval.json is finished"):
        run_em(tmp_path / "run", right)
    with pytest.raises(UserError, match="evaluation.tokenizer: .* delete what they made, rounds/0/eval.json"):
        rebuild_report(workspace(tmp_path / "run", right))
    (tmp_path / "run/rounds/0/eval.json").unlink()
    report = run_em(tmp_path / "run", right)
    assert "tok:zh" in report["rounds"][0]["student"]["test"]["bleu_signature"]


def test_a_run_into_japanese_names_what_is_missing_before_it_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_ja_mecab, "MeCab", None)
    config = small_config()
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, target_language="ja"))
    with pytest.raises(UserError, match=r"pip install 'emnat_jax\[ja\]'"):
        run_em(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
    asked = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, tokenizer="char"))
    workspace(tmp_path / "run", asked).check()


def test_options_of_a_choice_hold_the_scoring_only_where_candidates_are_compared():
    def options(tokenizer: str, **select):
        config = dataclasses.replace(
            small_config(),
            select=SelectConfig(rule="posterior", **select),
            evaluation=EvaluationConfig(tokenizer=tokenizer),
        )
        return SelectOptions.of(config, 0)

    assert options("13a") == options("zh")
    assert options("13a", quality_weight=1.0) == options("zh", quality_weight=1.0)  # chrF has no tokenizer
    bleu = {"quality_weight": 1.0, "quality": "bleu"}
    assert options("13a", **bleu) != options("zh", **bleu)
    assert options("zh", **bleu).scoring.tokenizer == "zh"
    assert EvaluationOptions.of(small_config()).scoring.tokenizer == "13a"
