"""Special ids, and the log-probability of what cannot be; nothing here needs JAX."""

from typing import Any

PAD, EOS, UNK, BOS = 0, 1, 2, 3  # docs/method.md, section 8.5: the special ids of the paper's vocabulary
NUM_SPECIAL = 4
BLANK = PAD  # of CTC frames: no target holds PAD
HIDDEN = -1  # no token is shown at a decoder position
NEG_INF = -1e9  # finite: sums and differences of it stay numbers


def is_impossible(log_prob: Any) -> Any:
    """True where a log-probability (NumPy, JAX or a number) stands for probability zero.

    That is NEG_INF, -inf, and NEG_INF with the log-probabilities of a whole sentence added: no possible
    sentence comes near half of it.
    """
    return log_prob <= NEG_INF / 2
