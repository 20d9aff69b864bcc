"""The table of rules, and a rule that a configuration file enters."""

import json
from pathlib import Path

import numpy as np
import pytest

from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.cli.configuration import read_config
from emnat_jax.config import RULES, EMConfig, RuleSpec, SelectConfig
from emnat_jax.errors import UserError
from tests.cli.commands import run
from tests.estep.candidates import chosen
from tests.tiny_run import DEMO, TINY

FILE = Path(__file__).with_name("outside_rule.py")


@pytest.fixture(autouse=True)
def table():
    """What a test enters is gone after it."""
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


def test_a_rule_from_a_configuration_file_chooses(candidates, tmp_path):
    config = read_config([f"--config={FILE}", "--config.select.include_reference=True"])
    rows, options = chosen(candidates, tmp_path / "out", config=config.select)
    # The second source's: min(-6, -0.5), min(-1, -2.5), min(-1.5, -1.5); the first two of the last one tie.
    assert [row.scores["rank"][0] for row in rows] == [0, 2, 2, 0]
    assert options["select"]["rule"] == "maximin" and options["select"]["maximin"] == {"handicap": 0.5}


def test_it_has_its_own_options_and_no_weights():
    config = read_config([f"--config={FILE}", "--config.select.maximin.handicap=2.0"])
    assert config.select.options.handicap == 2.0
    with pytest.raises(UserError, match="select.beta, select.output: only select.rule=posterior has that"):
        read_config([f"--config={FILE}", "--config.select.beta=2.0", "--config.select.output=sampled"])
    with pytest.raises(UserError, match=r"select\.rule='minimax': choose one of student_top1, .*maximin"):
        read_config([f"--config={FILE}", "--config.select.rule=minimax"])


def test_a_rule_that_is_a_distribution_has_weights_samples_and_constraints(candidates, tmp_path):
    """With the scores of `posterior` it does what `posterior` does."""
    posterior = RULES["posterior"]
    RULES["mine"] = RuleSpec(
        lambda scores, weights, options: posterior.score(scores, weights, options), is_distribution=True
    )
    about = {"output": "weighted", "alpha": 3.0, "max_drift": 0.2}
    ours, options = chosen(candidates, tmp_path / "ours", rule="mine", **about)
    theirs, wanted = chosen(candidates, tmp_path / "theirs", rule="posterior", **about)
    assert options["weights"] == wanted["weights"] and options["weights"]["beta"] > 1
    for row, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(row.scores["weight"], other.scores["weight"])


def test_a_rule_gets_the_columns_that_it_asks_for(candidates, tmp_path):
    RULES["marked"] = RuleSpec(
        lambda scores, *_: scores.columns["from_reference"], columns=("from_reference",)
    )
    rows, _ = chosen(candidates, tmp_path / "out", rule="marked")
    assert [row.scores["rank"][0] for row in rows] == [0, 0, 2, 0]  # the third source's last is a reference
    RULES["marked"] = RuleSpec(
        lambda scores, *_: scores.columns["length_log_prob"], columns=("length_log_prob",)
    )
    with pytest.raises(UserError, match="select.rule=marked needs the column length_log_prob"):
        chosen(candidates, tmp_path / "missing", rule="marked")


def test_a_rule_may_look_at_quality_and_at_the_teachers_list(candidates, tmp_path):
    RULES["oracle"] = RuleSpec(lambda scores, *_: scores.quality, columns=(), needs_quality=True)
    rows, _ = chosen(candidates, tmp_path / "out", rule="oracle", quality="bleu")
    assert [row.scores["rank"][0] for row in rows] == [1, 1, 2, 1]
    RULES["second"] = RuleSpec(lambda scores, *_: scores.keep, needs_teacher_list=True)
    from emnat_jax.config import Config

    with pytest.raises(UserError, match="select.rule=second looks at the teacher's best"):
        Config(select=SelectConfig(rule="second"), em=EMConfig(candidates_from=("student",)))


def test_a_rule_may_compare_candidates_with_references_in_its_own_way(candidates, tmp_path):
    """The longest candidate is the best; `posterior` weighs that like any quality."""
    seen = []

    def longest(source, texts, reference):
        seen.append((source, list(texts), reference))
        return np.array([len(text.split()) for text in texts])

    RULES["longest"] = RULES["posterior"]._replace(quality=longest)
    about = {"quality_weight": 1e3, "rule": "longest"}
    rows, options = chosen(candidates, tmp_path / "out", **about)
    # The longest of "a b c, a b, c c", "b a, a b c, b b", "c, c a, c a b"; of three words the likeliest.
    assert [row.scores["rank"][0] for row in rows] == [0, 1, 2, 1]
    assert seen[1] == ("a b", ["b a", "a b c", "b b"], "a b c") and options["select"]["rule"] == "longest"
    for number, given in enumerate(([1.0], [1.0, np.nan, 0.0])):
        RULES["longest"] = RULES["posterior"]._replace(quality=lambda *texts, given=given: given)
        with pytest.raises(ValueError, match=r"rule=longest: its quality gave \[1.0.* for 3 candidates"):
            chosen(candidates, tmp_path / f"bad{number}", **about)


def test_scores_of_another_shape_are_refused(candidates, tmp_path):
    RULES["short"] = RuleSpec(lambda scores, *_: np.zeros(3))
    with pytest.raises(ValueError, match=r"select.rule=short: scores of shape \(3,\)"):
        chosen(candidates, tmp_path / "out", rule="short")


@pytest.mark.slow
def test_a_rule_from_a_configuration_file_runs_through_em(tmp_path, capsys):
    code, output = run(
        "em", f"--config={FILE}", *TINY, *DEMO, f"--workdir={tmp_path}", "--json", capsys=capsys
    )
    assert code == 0
    manifest = load_manifest(tmp_path / "rounds/0/selected")
    assert manifest.options["select"]["rule"] == "maximin"
    selection = json.loads(output.out)["rounds"][0]["selection"]
    assert selection["options"]["rule"] == "maximin"
    assert selection["options"]["maximin"] == {"handicap": 0.5}


def test_the_guide_shows_this_rule():
    guide = (FILE.parents[2] / "docs/guides/estep_rule.md").read_text()
    code = FILE.read_text()
    assert code[code.index("import dataclasses") :].rstrip() in guide
