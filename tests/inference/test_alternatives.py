"""What a student chose between, against its own probabilities."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.config import DataConfig, MeshConfig
from emnat_jax.families.vanilla import length_trials
from emnat_jax.inference.alternatives import choices
from emnat_jax.inference.model import CompiledModel
from emnat_jax.inference.sentences import sentence_pairs
from emnat_jax.runtime.mesh import make_layout
from emnat_jax.types import BLANK, EOS, HIDDEN
from tests import tiny

SOURCES = [np.array(tokens, np.int32) for tokens in ([4, 5, EOS], [6, EOS], [5, 6, 4, EOS])]


def words(name: str, taken: np.ndarray) -> list[int]:
    """What the tokens along an alignment say."""
    shown = [token for token in taken.tolist() if token != HIDDEN]
    if name == "ctc":
        shown = [token for token, _ in itertools.groupby(shown) if token != BLANK]
    return shown


def length_log_prob(params, source: np.ndarray, length: int) -> float:
    """log p(T | x) of `vanilla`."""
    trials = length_trials(
        tiny.model("vanilla").transformer, params, jnp.asarray(source[None]), tiny.MAX_LENGTH
    )
    place = trials.lengths[0].tolist().index(length)
    return float(trials.log_prob[0, place])


@pytest.mark.parametrize(
    "name", ["ctc", *(pytest.param(x, marks=pytest.mark.slow) for x in ("vanilla", "dag"))]
)
def test_the_output_lies_on_the_positions_and_never_beats_the_likeliest(name):
    data = DataConfig(buckets=(tiny.MAX_LENGTH,), decode_rows=2)
    system, params = CompiledModel(tiny.model(name), data, make_layout(MeshConfig())), tiny.params(name)
    outputs = [found.tokens[0] for found in system.decode(params, sentence_pairs(SOURCES))]
    pairs = sentence_pairs(SOURCES, outputs)
    scores = system.score(params, pairs)
    told = zip(SOURCES, outputs, system.alternatives(params, pairs, 2), scores, strict=True)
    for source, output, found, score in told:
        assert words(name, found.taken) == output.tolist()[:-1]
        on_path = found.taken != HIDDEN
        assert (found.taken_log_prob[on_path] <= found.log_prob[on_path, 0] + 1e-6).all()
        assert (found.log_prob[:, 0] >= found.log_prob[:, 1]).all()
        same = found.taken == found.tokens[:, 0]
        np.testing.assert_allclose(
            found.taken_log_prob[on_path & same], found.log_prob[on_path & same, 0], rtol=1e-6
        )
        total = found.taken_log_prob[on_path].sum()
        if name == "vanilla":
            assert score == pytest.approx(total + length_log_prob(params, source, len(output)), abs=1e-4)
        if name == "ctc":  # other alignments add
            assert total <= score + 1e-5
        shown = choices(found, [f"p{i}" for i in range(5)])
        assert len(shown) == on_path.sum() and all(
            0 <= item.probability <= item.likely[0][1] + 1e-4 for item in shown
        )
