"""The E-step by the numbers of docs/method.md, sections 13.3 and 13.4."""

import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import SelectConfig
from emnat_jax.errors import UserError
from emnat_jax.estep.constraints import bisect_multiplier
from emnat_jax.estep.posterior import posterior_weights, sample
from emnat_jax.estep.rules import choose, posterior
from emnat_jax.estep.scores import Scores, Weights
from emnat_jax.types import NEG_INF
from tests.brute_force import fitted_log_prob

TARGETS = (("A", "B", "$"), ("C", "D", "$"), ("C", "B", "$"))
Q0 = np.array([0.40, 0.35, 0.25])
KEEP = np.ones(3, bool)


def fitted(q) -> np.ndarray:
    """Log-probabilities of the targets under the student fitted to them with shares `q`."""
    log_prob = fitted_log_prob({t: share for t, share in zip(TARGETS, q, strict=True) if share > 0})
    return np.array([log_prob.get(target, -np.inf) for target in TARGETS])


def log(q) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(q)


def shares(scores: Scores, weights: Weights) -> np.ndarray:
    """The weights of the candidates under the rule `posterior`."""
    return posterior_weights(np.where(scores.keep, posterior(scores, weights), -np.inf))


@pytest.mark.parametrize(
    ("alpha", "beta", "wanted"),
    [
        (1.0, 0.0, [0.302326, 0.244186, 0.453488]),
        (0.0, 1.0, [0.400000, 0.350000, 0.250000]),
        (1.0, 1.0, [0.378182, 0.267273, 0.354545]),
        (1.0, 0.5, [0.339976, 0.256861, 0.403162]),
    ],
)
def test_worked_weights(alpha, beta, wanted):
    np.testing.assert_allclose(
        shares(Scores(fitted(Q0), np.log(Q0), KEEP), Weights(alpha, beta)), wanted, atol=1e-6
    )


def test_unanchored_rounds_drift_to_the_least_likely():
    wanted = [
        [0.378182, 0.267273, 0.354545],
        [0.337230, 0.142941, 0.519829],
        [0.239899, 0.033330, 0.726771],
        [0.094216, 0.001430, 0.904354],
        [0.010720, 0.000002, 0.989278],
    ]
    q = Q0
    for row in wanted:
        q = shares(Scores(fitted(q), log(q), KEEP), Weights(1.0, 1.0))
        np.testing.assert_allclose(q, row, atol=1e-6)


def anchored(alpha, beta, rounds):
    q = Q0
    for _ in range(rounds):
        q = shares(Scores(fitted(q), np.log(Q0), KEEP), Weights(alpha, beta))
    return q


def test_anchored_rounds():
    np.testing.assert_allclose(anchored(1.0, 1.0, 1), [0.378182, 0.267273, 0.354545], atol=1e-6)
    np.testing.assert_allclose(anchored(1.0, 1.0, 2), [0.391783, 0.205603, 0.402614], atol=1e-6)
    np.testing.assert_allclose(anchored(0.5, 1.0, 300), [0.437983, 0.251931, 0.310087], atol=1e-6)
    for alpha, beta, end in [(1.0, 1.0, [1, 0, 0]), (1.0, 2.0, [1, 0, 0]), (2.0, 1.0, [0, 0, 1])]:
        np.testing.assert_allclose(anchored(alpha, beta, 300), end, atol=1e-6)


def test_weights_of_far_and_missing_candidates():
    student = np.array(
        [[-1e5, -1e5 - 1, 0.0], [-1.0, -2.0, -3.0], [-np.inf, -1.0, NEG_INF], [-np.inf, -np.inf, 0.0]]
    )
    keep = np.array([[True, True, False], [False] * 3, [True] * 3, [True, True, False]])
    weights = shares(Scores(student, np.zeros((4, 3)), keep), Weights(1.0, 1.0))
    half = 1 / (1 + np.exp(-1.0))
    wanted = [[half, 1 - half, 0.0], [0.0] * 3, [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]
    np.testing.assert_allclose(weights, wanted, atol=1e-12)
    flat = shares(Scores(student, np.zeros((4, 3)), keep), Weights(0.0, 1.0))
    np.testing.assert_array_equal(flat[2], [1 / 3] * 3)


def test_weights_per_token():
    # docs/method.md, section 6.3: -4.0 over 5 tokens beats -6.3 over 9, per token it is the reverse.
    student, lengths = np.array([[-4.0, -6.3]]), np.array([[5, 9]])
    keep = np.ones((1, 2), bool)
    plain = shares(Scores(student, student, keep), Weights(1.0, 0.0))
    per_token = shares(Scores(student, student, keep, lengths), Weights(1.0, 0.0))
    assert plain[0, 0] > 0.5 > per_token[0, 0]
    np.testing.assert_allclose(per_token[0, 0] / per_token[0, 1], np.exp(-0.8 + 0.7))


@pytest.mark.parametrize("rule", ["student_top1", "posterior"])
def test_of_what_no_student_can_produce_the_longest_is_not_the_best(rule):
    student, lengths = [NEG_INF, NEG_INF, -np.inf], [2, 6, 9]
    assert take(rule, student, [-1.0, -9.0, -40.0], lengths=lengths) == 0


def take(rule, student, teacher0, *, keep=None, lengths=None, module=np, alpha=1.0, beta=1.0):
    student, teacher0 = module.asarray([student], float), module.asarray([teacher0], float)
    keep = module.ones(student.shape, bool) if keep is None else module.asarray([keep])
    lengths = None if lengths is None else module.asarray([lengths])
    scores = Scores(student, teacher0, keep, lengths)
    return int(choose(SelectConfig(rule=rule), scores, Weights(alpha, beta))[0])


@pytest.mark.parametrize("module", [np, jnp])
def test_rules_on_the_worked_example(module):
    teacher0 = np.log(Q0)
    assert take("teacher_top1", fitted(Q0), teacher0, module=module) == 0
    assert take("student_top1", fitted(Q0), teacher0, module=module) == 2  # the teacher's least likely
    assert take("posterior", fitted(Q0), teacher0, module=module) == 0
    assert take("posterior", fitted(Q0), teacher0, module=module, beta=0.5) == 2


@pytest.mark.parametrize("rule", ["student_top1", "teacher_top1", "posterior"])
def test_ties_missing_and_nothing(rule):
    student, teacher0 = [-2.0, -2.0, -1.0], [-3.0, -3.0, -1.0]
    assert take(rule, student, teacher0, keep=[True, True, False]) == 0
    assert take(rule, student, teacher0, keep=[False, True, False]) == 1
    assert take(rule, student, teacher0, keep=[False, False, False]) == -1


def test_ties_survive_differences_that_weights_would_lose():
    # exp(-800) is 0 for both, their scores still differ.
    assert take("posterior", [-801.0, -800.0], [0.0, 0.0]) == 1


def test_choice_per_token():
    for rule in ("student_top1", "posterior"):
        assert take(rule, [-4.0, -6.3], [0.0, 0.0]) == 0
        assert take(rule, [-4.0, -6.3], [0.0, 0.0], lengths=[5, 9]) == 1


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(UserError, match="not numbers"):
        take("student_top1", [-1.0, np.nan], [0.0, 0.0])
    assert take("student_top1", [-1.0, np.nan], [0.0, 0.0], keep=[True, False]) == 0


QUALITY = np.array([0.2, 0.9, 0.5])


def tilted(weight: float) -> np.ndarray:
    return shares(Scores(fitted(Q0), np.log(Q0), KEEP, None, QUALITY), Weights(1.0, 1.0, weight))


def test_quality_tilts_the_posterior():
    wanted = np.array([0.378182, 0.267273, 0.354545]) * np.exp(2.0 * QUALITY)
    np.testing.assert_allclose(tilted(2.0), wanted / wanted.sum(), atol=1e-6)
    assert tilted(1e3).argmax() == 1


def test_a_constraint_gives_the_nearest_distribution_that_meets_it():
    """Against a search over all distributions of three candidates: the dual's is the one of least KL."""
    weight = bisect_multiplier(lambda w: float(tilted(w) @ QUALITY), 0.7, 0.0, "minimum")
    found, free = tilted(weight), tilted(0.0)
    assert found @ QUALITY == pytest.approx(0.7, abs=1e-9)
    grid = np.linspace(0.0, 1.0, 401)
    first, second = np.meshgrid(grid, grid)
    others = np.stack([first, second, 1 - first - second], axis=-1)
    others = others[(others[..., 2] >= 0) & (others @ QUALITY >= 0.7)]
    divergence = lambda q: np.sum(q * np.log(np.maximum(q, 1e-300) / free), axis=-1)  # noqa: E731
    assert divergence(found) <= divergence(others).min() + 1e-9
    assert divergence(others).min() == pytest.approx(divergence(found), abs=1e-3)


def test_a_constraint_that_is_met_changes_nothing_and_one_out_of_reach_is_refused():
    mean = lambda w: float(tilted(w) @ QUALITY)  # noqa: E731
    assert (
        bisect_multiplier(mean, 0.3, 0.0, "minimum") == 0.0
        and bisect_multiplier(mean, 0.3, 1.5, "minimum") == 1.5
    )
    with pytest.raises(UserError, match=r"minimum cannot be met: these candidates reach 0\.9000"):
        bisect_multiplier(mean, 0.95, 0.0, "minimum")


def test_the_constraint_of_hard_choices_is_met_by_the_smallest_weight():
    def mean(weight: float) -> float:
        scores = Scores(fitted(Q0)[None], np.log(Q0)[None], KEEP[None], None, QUALITY[None])
        return float(QUALITY[choose(SelectConfig(rule="posterior"), scores, Weights(1.0, 1.0, weight))[0]])

    weight = bisect_multiplier(mean, 0.9, 0.0, "minimum")
    assert mean(weight) == 0.9 and mean(weight * (1 - 1e-9)) < 0.9


def test_samples_have_the_shares_of_the_weights():
    weights = np.array([[0.25, 0.0, 0.75], [0.0, 0.0, 0.0]])
    uniform = (np.arange(1000) + 0.5) / 1000
    drawn = sample(np.repeat(weights[:1], 1000, axis=0), uniform)
    assert np.bincount(drawn).tolist() == [250, 0, 750]
    assert sample(weights[:, ::-1], np.array([0.999999999, 0.5])).tolist() == [2, -1]
    assert sample(np.array([[0.5, 0.5, 0.0]]), np.array([1.0 - 1e-17])).tolist() == [1]
