"""A family that a configuration file enters: the contract, the command line and a whole run."""

import inspect
import json

import pytest

from emnat_jax.cli.configuration import read_config
from emnat_jax.cli.streams import flatten
from emnat_jax.config import FAMILIES, GLATOptions
from emnat_jax.config.convert import to_dict
from emnat_jax.errors import UserError
from tests import tiny
from tests.cli.commands import run
from tests.em.runs import small_config
from tests.families import outside_family, test_contract

FILE = f"--config={outside_family.__file__}"
CONTRACT = [test for name, test in vars(test_contract).items() if name.startswith("test_")]


@pytest.fixture(autouse=True)
def _the_table_stays():
    before = dict(FAMILIES)
    yield
    FAMILIES.clear()
    FAMILIES.update(before)


@pytest.mark.parametrize(
    "contract",
    [
        pytest.param(
            test,
            id=test.__name__,
            marks=pytest.mark.slow if "scanned" in test.__name__ or "overfits" in test.__name__ else (),
        )
        for test in CONTRACT
    ],
)
def test_it_keeps_the_contract(contract, monkeypatch):
    monkeypatch.setitem(FAMILIES, "focal", outside_family.SPEC)
    contract("focal", **({"count": 3} if "count" in inspect.signature(contract).parameters else {}))


def test_its_options_are_read_like_any_others():
    config = read_config([FILE, "--config.student.focal.length_candidates=3"])
    assert config.student.family == "focal"
    options = to_dict(config)["student"]["focal"]
    assert (options["gamma"], options["length_candidates"], options["decoder"]) == (2.0, 3, "odd")
    model = config.student.resolve(100, 16).with_decoder("argmax")
    assert model.options.decoder == "argmax"
    with pytest.raises(UserError, match="'beam': the family focal has odd, argmax"):
        model.with_decoder("beam")


@pytest.mark.parametrize(
    "argument, part",
    [
        ("--config.student.focal.gama=3", "did you mean student.focal.gamma"),
        ("--config.student.focal.gamma=much", "type float"),
        ("--config.student.family=vanilla", "student.focal.gamma: student.family=vanilla does not have that"),
    ],
)
def test_mistakes_are_named(argument, part):
    with pytest.raises(UserError, match=part):
        read_config([FILE, argument])


def test_it_can_be_the_base_of_glancing(monkeypatch):
    monkeypatch.setitem(FAMILIES, "focal", outside_family.SPEC)
    options = GLATOptions(base="focal", base_options=outside_family.FocalOptions(decoder="argmax"))
    model = tiny.model("glat", options)
    assert model.with_decoder("odd").options.of_base.decoder == "odd"
    test_contract.test_gradients_are_finite_on_the_longest_row_and_on_fillers_alone("glat")


@pytest.mark.slow
def test_a_whole_run(tmp_path):
    """`emnat em`, then `emnat translate`, both with the file that enters the family."""
    sizes = [
        f"--config.{key}={value}"
        for key, value in flatten(to_dict(small_config()))
        if key != "student.family" and not key.startswith("student.vanilla")
    ]
    workdir = f"--workdir={tmp_path / 'run'}"
    assert run("em", FILE, workdir, *sizes)[0] == 0
    report = json.loads((tmp_path / "run/report/report.json").read_text())
    assert report["config"]["student"]["family"] == "focal" and len(report["rounds"]) == 2
    (tmp_path / "in").write_text("s1 s2 s3\n\ns4 s5 s6\n")
    files = (f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    assert run("translate", FILE, workdir, *sizes, "--decoder=argmax", *files)[0] == 0
    assert len((tmp_path / "out").read_text().splitlines()) == 3
