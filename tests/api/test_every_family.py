"""`TrainedModel` with a model of every family, untrained: the same methods, the same promises."""

import numpy as np
import pytest

from emnat_jax.errors import UserError
from emnat_jax.families import FAMILIES
from tests.quick import quick

LINES = ["a b", "", "c a"]


@pytest.mark.parametrize("name", quick(FAMILIES, ("ar", "ctc")))
def test_every_family_translates_and_scores(name, trained):
    model = trained(name)
    lists = model.n_best(LINES, 3)
    assert [len(found) for found in lists] == [len({t.text for t in found}) for found in lists]
    assert lists[1] == [] and 1 <= len(lists[0]) <= 3
    assert model.translate(LINES) == [found[0].text if found else "" for found in lists]
    scores = model.score(LINES, model.translate(LINES))
    assert scores.shape == (3,) and scores.dtype == np.float32 and (scores <= 0).all()
    assert repr(model).startswith(f"TrainedModel({name}, 1+") and name in repr(model)


@pytest.mark.parametrize("name", quick(FAMILIES, ("vanilla",)))
def test_every_student_is_rescored(name, trained):
    model, teacher = trained(name), trained("ar")
    rescored = model.rescored_by(teacher, 3)
    for own, found in zip(model.n_best(LINES, 3), rescored.n_best(LINES, 3), strict=True):
        by_text = dict(own)
        assert by_text.keys() == dict(found).keys()
        assert [t.log_prob for t in found] == pytest.approx([by_text[t.text] for t in found], abs=1e-5)
    np.testing.assert_array_equal(rescored.score(["a"], ["b"]), model.score(["a"], ["b"]))


@pytest.mark.parametrize("name", quick(FAMILIES, ("vanilla", "ctc")))
def test_alternatives_of_every_family_of_one_pass(name, trained):
    model = trained(name)
    if not model.config.options.is_parallel:
        with pytest.raises(UserError, match="one token after another"):
            model.alternatives(LINES)
        return
    for text, choices in zip(model.translate(LINES), model.alternatives(LINES, 2), strict=True):
        assert bool(choices) == bool(text)
        assert all(len(choice.likely) == 2 for choice in choices)
        assert all(0 < choice.probability <= choice.likely[0][1] + 1e-6 for choice in choices)
