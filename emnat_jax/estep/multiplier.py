"""How strong a term of the posterior must be, so that what it is about is met in the mean.

The E-step asks for the distribution nearest to the student among those with E[quality] >= floor; it is the
student's times exp(weight x quality), and the weight is the constraint's multiplier (METHOD 1.3, 5.5). The
mean does not fall as the weight grows, for soft weights and for the hard choice alike, so bisection finds it.
"""

from collections.abc import Callable

from emnat_jax.errors import UserError

LARGEST = 1e6  # nats a unit: beyond it nothing but the term itself decides
STEPS = 60


def bisect_multiplier(mean: Callable[[float], float], floor: float, start: float, about: str) -> float:
    """The smallest weight >= `start` (up to rounding) with mean(weight) >= floor.

    `mean` must not fall as its argument grows. Raises UserError, naming `about` and the largest mean, where
    no weight reaches the floor.
    """
    if mean(start) >= floor:
        return start
    low, high = start, max(2 * start, 1.0)
    while mean(high) < floor:
        low, high = high, 4 * high
        if high > LARGEST:
            reached = mean(LARGEST)
            if reached >= floor:
                high = LARGEST
                break
            raise UserError(
                f"{about} cannot be met: these candidates reach {reached:.4f} at most; ask for less."
            )
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if mean(middle) >= floor else (middle, high)
    return high
