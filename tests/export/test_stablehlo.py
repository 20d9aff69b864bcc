"""Programs of StableHLO against the families that they stand for."""

import jax
import jaxtyping
import numpy as np
import pytest

from emnat_jax.errors import UserError
from emnat_jax.export.stablehlo import PLATFORMS, read_stablehlo, write_stablehlo
from tests import tiny

MORE = ("vanilla", "cmlm", "ctc", "dag")
names = ["ar", *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]


@pytest.fixture(autouse=True)
def no_checks_of_shapes():
    """They cannot broadcast a number of rows that is not known yet."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", names)
def test_programs_give_what_the_family_gives(name, tmp_path):
    """For any number of sources, of any width up to the last one."""
    spec = tiny.model(name, extra_length=0)  # so that the width limits an output
    write_stablehlo(tmp_path, spec, tiny.params(name), (2, tiny.MAX_LENGTH), count=2)
    programs = read_stablehlo(tmp_path)
    assert set(programs.by_width) == {2, tiny.MAX_LENGTH}
    for program in programs.by_width.values():
        assert set(program.platforms) == set(PLATFORMS)
    decode = tiny.jitted(name, "decode", extra_length=0)
    source = tiny.batch(rows=9).source
    short = source[np.sum(source != 0, axis=1) <= 2][:, :2]
    assert 0 < len(short) < len(source)
    for given, width in ((source, 4), (source[:3, :3], 4), (short, 2), (short[:, :1], 2)):
        padded = np.pad(given, ((0, 0), (0, width - given.shape[1])))
        expected = decode(tiny.params(name), padded, jax.random.key(0), 2)
        for ours, theirs in zip(*map(jax.tree.leaves, (programs.decode(given), expected)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_fused_kernel_is_exported_as_what_it_computes(tmp_path):
    spec = tiny.model("ar", attention="cudnn", dtype="bfloat16", attention_dropout=0.0)
    write_stablehlo(tmp_path, spec, tiny.params("ar"), (4,))
    assert read_stablehlo(tmp_path).decode(tiny.batch().source).tokens.shape == (8, 1, 4)


def test_widths_that_do_not_fit_and_folders_without_programs_are_refused(tmp_path):
    for widths in ((), (tiny.MAX_LENGTH + 1,), (0,)):
        with pytest.raises(UserError, match="each from 1 to the model's 4 tokens"):
            write_stablehlo(tmp_path, tiny.model("ar"), {}, widths)
    with pytest.raises(UserError, match="no finished programs"):
        read_stablehlo(tmp_path / "none")
    write_stablehlo(tmp_path, tiny.model("ar"), tiny.params("ar"), (2,))
    with pytest.raises(UserError, match="sources of 3 tokens: the programs take 2 at most"):
        read_stablehlo(tmp_path).decode(np.ones((1, 3), np.int32))
    (tmp_path / "parameters.npz").unlink()
    with pytest.raises(UserError, match="no finished programs"):
        read_stablehlo(tmp_path)
