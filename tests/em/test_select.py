"""The E-step by the numbers of METHOD 6.3 and 6.4."""

import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import SelectConfig
from emnat_jax.em.select import choose, posterior_weights
from emnat_jax.errors import UserError
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
        posterior_weights(fitted(Q0), np.log(Q0), KEEP, alpha, beta), wanted, atol=1e-6
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
        q = posterior_weights(fitted(q), log(q), KEEP, 1.0, 1.0)
        np.testing.assert_allclose(q, row, atol=1e-6)


def anchored(alpha, beta, rounds):
    q = Q0
    for _ in range(rounds):
        q = posterior_weights(fitted(q), np.log(Q0), KEEP, alpha, beta)
    return q


def test_anchored_rounds():
    np.testing.assert_allclose(anchored(1.0, 1.0, 1), [0.378182, 0.267273, 0.354545], atol=1e-6)
    np.testing.assert_allclose(anchored(1.0, 1.0, 2), [0.391783, 0.205603, 0.402614], atol=1e-6)
    np.testing.assert_allclose(anchored(0.5, 1.0, 300), [0.437983, 0.251931, 0.310087], atol=1e-6)
    for alpha, beta, end in [(1.0, 1.0, [1, 0, 0]), (1.0, 2.0, [1, 0, 0]), (2.0, 1.0, [0, 0, 1])]:
        np.testing.assert_allclose(anchored(alpha, beta, 300), end, atol=1e-6)


def test_weights_of_far_and_missing_candidates():
    nar = np.array(
        [[-1e5, -1e5 - 1, 0.0], [-1.0, -2.0, -3.0], [-np.inf, -1.0, NEG_INF], [-np.inf, -np.inf, 0.0]]
    )
    keep = np.array([[True, True, False], [False] * 3, [True] * 3, [True, True, False]])
    weights = posterior_weights(nar, np.zeros((4, 3)), keep, 1.0, 1.0)
    half = 1 / (1 + np.exp(-1.0))
    wanted = [[half, 1 - half, 0.0], [0.0] * 3, [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]
    np.testing.assert_allclose(weights, wanted, atol=1e-12)
    np.testing.assert_array_equal(posterior_weights(nar, np.zeros((4, 3)), keep, 0.0, 1.0)[2], [1 / 3] * 3)


def test_weights_per_token():
    # METHOD 1.10, fault 14: -4.0 over 5 tokens beats -6.3 over 9, per token it is the reverse.
    nar, lengths = np.array([[-4.0, -6.3]]), np.array([[5, 9]])
    plain = posterior_weights(nar, nar, np.ones((1, 2), bool), 1.0, 0.0)
    per_token = posterior_weights(nar, nar, np.ones((1, 2), bool), 1.0, 0.0, lengths)
    assert plain[0, 0] > 0.5 > per_token[0, 0]
    np.testing.assert_allclose(per_token[0, 0] / per_token[0, 1], np.exp(-0.8 + 0.7))


def take(rule, nar, ar0, keep=None, lengths=None, module=np, **options):
    nar, ar0 = module.asarray([nar], float), module.asarray([ar0], float)
    keep = module.ones(nar.shape, bool) if keep is None else module.asarray([keep])
    lengths = module.full(nar.shape, 5) if lengths is None else module.asarray([lengths])
    config = SelectConfig(rule=rule, **options)
    return int(choose(rule, nar_log_prob=nar, ar0_log_prob=ar0, keep=keep, lengths=lengths, config=config)[0])


@pytest.mark.parametrize("module", [np, jnp])
def test_rules_on_the_worked_example(module):
    ar0 = np.log(Q0)
    assert take("ar_top1", fitted(Q0), ar0, module=module) == 0
    assert take("nar_top1", fitted(Q0), ar0, module=module) == 2  # the teacher's least likely
    assert take("posterior", fitted(Q0), ar0, module=module) == 0
    assert take("posterior", fitted(Q0), ar0, module=module, beta=0.5) == 2


@pytest.mark.parametrize("rule", ["nar_top1", "ar_top1", "posterior"])
def test_ties_missing_and_nothing(rule):
    nar, ar0 = [-2.0, -2.0, -1.0], [-3.0, -3.0, -1.0]
    assert take(rule, nar, ar0, keep=[True, True, False]) == 0
    assert take(rule, nar, ar0, keep=[False, True, False]) == 1
    assert take(rule, nar, ar0, keep=[False, False, False]) == -1


def test_ties_survive_differences_that_weights_would_lose():
    # exp(-800) is 0 for both, their scores still differ.
    assert take("posterior", [-801.0, -800.0], [0.0, 0.0]) == 1


def test_choice_per_token():
    for rule in ("nar_top1", "posterior"):
        assert take(rule, [-4.0, -6.3], [0.0, 0.0], lengths=[5, 9], normalise_length=False) == 0
        assert take(rule, [-4.0, -6.3], [0.0, 0.0], lengths=[5, 9], normalise_length=True) == 1


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(UserError, match="not numbers"):
        take("nar_top1", [-1.0, np.nan], [0.0, 0.0])
    assert take("nar_top1", [-1.0, np.nan], [0.0, 0.0], keep=[True, False]) == 0
