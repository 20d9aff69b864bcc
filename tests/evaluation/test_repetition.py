"""The share of adjacent repeats, counted by hand."""

import numpy as np

from emnat_jax.evaluation.repetition import adjacent_repeat_rate


def test_adjacent_repeat_rate():
    assert adjacent_repeat_rate([["a", "a", "b"], ["c"]]) == 0.5
    assert adjacent_repeat_rate([np.array([4, 4, 4]), np.array([5, 6, 5])]) == 0.5
    assert adjacent_repeat_rate([["a", "b", "a"]]) == 0.0
    assert adjacent_repeat_rate([["a"], []]) == 0.0
    assert adjacent_repeat_rate([]) == 0.0
