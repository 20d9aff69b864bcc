"""CM, NCM and total correlation by the numbers of docs/method.md, section 13.2."""

import numpy as np
import pytest

from emnat_jax.errors import UserError
from emnat_jax.evaluation.multimodality import normalised_multimodality, total_correlation
from tests.brute_force import fitted_log_prob

ROWS = 100  # a corpus in which the shares below are whole numbers of sentences

ONE = {"A B $": 0.5, "C D $": 0.5}
SKEW = {"A B $": 0.40, "C D $": 0.35, "C B $": 0.25}
PRODUCT = {"A B $": 0.26, "A D $": 0.14, "C B $": 0.39, "C D $": 0.21}
LONG = {"E F G H $": 0.75, "E F H G $": 0.25}


def corpus(q):
    """(log-probabilities under the student and the teacher, lengths) of ROWS sentences spread as `q`."""
    shares = {tuple(text.split()): share for text, share in q.items()}
    counts = [round(share * ROWS) for share in shares.values()]
    fitted = fitted_log_prob(shares)
    columns = [[fitted[t] for t in shares], np.log(list(shares.values())), [len(t) for t in shares]]
    return [np.repeat(column, counts) for column in columns]


def test_fitted_probabilities():
    log_prob = fitted_log_prob({tuple(t.split()): share for t, share in SKEW.items()})
    np.testing.assert_allclose(list(log_prob.values()), [-1.347074, -1.560648, -0.941609], atol=1e-6)


@pytest.mark.parametrize(
    ("q", "cm", "ncm", "entropy"),
    [
        (ONE, 1.386294, 0.462098, 0.693147),
        (SKEW, 1.320458, 0.440153, 1.080528),
        (PRODUCT, 1.320458, 0.440153, 1.320458),
    ],
)
def test_worked_cases(q, cm, ncm, entropy):
    student, teacher, lengths = corpus(q)
    np.testing.assert_allclose(-np.mean(student), cm, atol=1e-6)
    np.testing.assert_allclose(normalised_multimodality(student, lengths), ncm, atol=1e-6)
    np.testing.assert_allclose(-np.mean(teacher), entropy, atol=1e-6)
    np.testing.assert_allclose(total_correlation(student, teacher, lengths), (cm - entropy) / 3, atol=1e-6)


def test_pooled_over_sources():
    (student_1, _, lengths_1), (student_2, _, lengths_2) = corpus(ONE), corpus(LONG)
    np.testing.assert_allclose(-np.mean(student_2), 1.124670, atol=1e-6)
    student, lengths = np.concatenate([student_1, student_2]), np.concatenate([lengths_1, lengths_2])
    np.testing.assert_allclose(normalised_multimodality(student, lengths), 0.313871, atol=1e-6)
    np.testing.assert_allclose(np.mean(-student / lengths), 0.343516, atol=1e-6)  # not pooled: another number


def test_nothing_is_refused():
    with pytest.raises(UserError, match="empty"):
        normalised_multimodality(np.zeros(0), np.zeros(0, int))
