"""What commands on lines of text ask of the devices."""

import types

import pytest

from emnat_jax.cli.workspace import require_whole_models
from emnat_jax.data.shard_workers import ShardWorkers
from emnat_jax.errors import UserError
from emnat_jax.runtime.mesh import DataPart
from tests import joint
from tests.em.test_processes import CONFIG


def work_of(parts: int, processes: int):
    """A workdir whose models lie over so many processes that they read `parts` different rows."""
    return types.SimpleNamespace(
        workers=ShardWorkers(part=DataPart(0, parts, True)),
        processes=types.SimpleNamespace(count=processes),
        settings=types.SimpleNamespace(mesh=types.SimpleNamespace(model=8)),
    )


def test_a_model_over_several_processes_takes_no_lines_of_one():
    for parts, processes in ((1, 1), (4, 4)):
        require_whole_models(work_of(parts, processes))
    with pytest.raises(UserError, match=r"mesh\.model=8 spreads a model over 2 processes"):
        require_whole_models(work_of(2, 4))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["translate"], ["evaluate"], ["score", "--model=nowhere", "--source=-", "--target=-"]]
)
def test_commands_on_lines_refuse_a_model_over_several_processes(tmp_path, words):
    """Each of the two has half of the model: what one reads the other would have to read as well."""
    options = [f"--config={CONFIG}", f"--workdir={tmp_path}", "--config.mesh.model=2"]
    for status, text in joint.outputs(joint.launch(2, 1, ["emnat_jax", *words, *options])):
        assert status == 2 and "spreads a model over 2 processes" in text, text
