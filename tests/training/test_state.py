"""The state before the first update: drawn, taken over whole or in part, refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emnat_jax.errors import UserError
from emnat_jax.families import FAMILIES
from emnat_jax.families.parameters import encoder_params
from emnat_jax.training.state import abstract_params, create_state, place_params
from tests import tiny
from tests.training import runs


@pytest.mark.parametrize("giver", FAMILIES)
@pytest.mark.parametrize("taker", FAMILIES)
def test_every_family_can_start_from_the_encoder_of_any_other(giver, taker):
    family, given, key = tiny.family(taker), encoder_params(tiny.params(giver)), jax.random.key(7)
    abstract = abstract_params(family, runs.layout())
    given = place_params(given, abstract)
    params = create_state(family, optax.sgd(0.1), key, ema=False, initial_params=given).params
    assert jax.tree.structure(params) == jax.tree.structure(abstract)
    drawn = jax.tree.map(np.asarray, family.init(key))
    taken = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(given)}
    assert any("encoder" in path for path in taken) and not any("decoder" in path for path in taken)
    old = dict(jax.tree.leaves_with_path(drawn))
    for path, leaf in jax.tree.leaves_with_path(params):
        np.testing.assert_array_equal(leaf, taken.get(jax.tree_util.keystr(path), old[path]))


def test_a_module_is_given_whole_or_not_at_all():
    """A deeper model is not filled up with random layers in silence, and a layer too many is not ignored."""
    deep, shallow = (abstract_params(tiny.family("ar", encoder_layers=n), runs.layout()) for n in (2, 1))
    full = {
        n: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), encoder_params(p))
        for n, p in (("deep", deep), ("shallow", shallow))
    }
    place_params(full["deep"], deep)
    for given, wanted in (("shallow", deep), ("deep", shallow)):
        with pytest.raises(UserError, match="layers_1.* a model of the same sizes, or from none"):
            place_params(full[given], wanted)
