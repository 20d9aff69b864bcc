"""Checkpoints: what was saved is what is restored, or an error."""

import functools
import logging
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emnat_jax.errors import UserError
from emnat_jax.training.checkpoint import Checkpoints
from emnat_jax.training.fingerprint import fingerprint
from emnat_jax.training.optimizer import make_optimizer
from emnat_jax.training.restore import damaged_steps, restore_params
from emnat_jax.training.save_messages import _is_news
from emnat_jax.training.state import abstract_params, abstract_state, create_state, state_shardings
from tests import tiny_family
from tests.training import runs

FAMILY = tiny_family.make()
TX = make_optimizer(runs.OPTIM, 10, FAMILY.axes)


@functools.partial(jax.jit, static_argnames="ema")
def _create(key, ema):
    return create_state(FAMILY, TX, key, ema=ema)


def make(seed, ema=True):
    return _create(jax.random.key(seed), ema)


def abstract(layout=None, ema=True):
    return abstract_state(FAMILY, TX, state_shardings(FAMILY.axes, TX, layout or runs.layout(), ema=ema))


def save(directory, steps, **options):
    with Checkpoints(directory) as checkpoints:
        for step in steps:
            checkpoints.save(step, make(step), {"number": step}, **options)


def damage(folder, how):
    """Harms the largest file of a checkpoint, where its arrays are."""
    path = max(folder.rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if how == "flip":
        data[middle] ^= 1
    path.write_bytes(data[:middle] if how == "truncate" else data)


@pytest.mark.parametrize("sizes", [{}, {"devices": 4, "fsdp": 2, "model": 2}])
@pytest.mark.parametrize("ema", [True, False])
def test_restores_the_same_bits_onto_any_mesh(tmp_path, sizes, ema):
    state = make(1, ema)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state, {"position": {"epoch": 1}, "loss": 0.1})
        checkpoints.wait()
        layout = runs.layout(**sizes)
        restored, metadata = checkpoints.restore(abstract(layout, ema))
    assert metadata == {"position": {"epoch": 1}, "loss": 0.1}
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    assert fingerprint(restored) == fingerprint(state)
    assert restored.params["tokens"].sharding == abstract(layout, ema).params["tokens"].sharding
    params = restore_params(tmp_path, abstract_params(FAMILY, layout), 7)
    assert fingerprint(params) == fingerprint(state.ema if ema else state.params)


def test_nothing_saved(tmp_path):
    with Checkpoints(tmp_path / "new") as checkpoints:
        assert checkpoints.restore(abstract()) is None
    with pytest.raises(UserError, match="new has lost the checkpoint after step 1"):
        restore_params(tmp_path / "new", abstract_params(FAMILY, runs.layout()), 1)
    with pytest.raises(UserError, match="does not exist"):
        restore_params(tmp_path / "absent", abstract_params(FAMILY, runs.layout()), 1)


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    """As those that a version before saved, whose model lacked a parameter; they are kept."""
    save(tmp_path, [1])
    wider = FAMILY._replace(
        init=lambda key: FAMILY.init(key) | {"slot": jnp.zeros(8)}, axes=FAMILY.axes | {"slot": ("embed",)}
    )
    named = r"checkpoint .*/1 is of another model.*\['slot'\] has shape None, expected \(8,\).*train again"
    with pytest.raises(UserError, match=named):
        restore_params(tmp_path, abstract_params(wider, runs.layout()), 1)
    tx = make_optimizer(runs.OPTIM, 10, wider.axes)
    wanted = abstract_state(wider, tx, state_shardings(wider.axes, tx, runs.layout(), ema=True))
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(UserError, match=named):
            checkpoints.restore(wanted)
        assert checkpoints.steps() == [1]


def test_keeps_the_latest_two_and_the_named_ones(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step, keep in ((1, ()), (2, (2,)), (3, (2, 3)), (4, (2, 3)), (5, (2, 3))):
            checkpoints.save(step, make(step), {}, keep=keep)
        checkpoints.wait()
        assert checkpoints.steps() == [2, 3, 4, 5]
        checkpoints.save(6, make(6), {}, keep=(6,))
        checkpoints.wait()
        assert checkpoints.steps() == [5, 6]


def test_saving_a_step_twice_is_noticed(tmp_path):
    save(tmp_path, [1])
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(Exception, match="already"):
        checkpoints.save(1, make(1), {})


@pytest.mark.parametrize("how", ["truncate", "flip"])
def test_damaged_checkpoint_falls_back_and_makes_room(tmp_path, how):
    save(tmp_path, [1, 2])
    damage(tmp_path / "2", how)
    said = []
    with Checkpoints(tmp_path) as checkpoints:
        restored, metadata = checkpoints.restore(abstract(), said.append)
        assert metadata == {"number": 1}
        assert fingerprint(restored) == fingerprint(make(1))
        assert len(said) == 1 and "2 is damaged" in said[0]
        checkpoints.save(2, make(2), {"number": 2})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(abstract())[1] == {"number": 2}


def test_changed_metadata_are_noticed(tmp_path):
    save(tmp_path, [1, 2])
    path = tmp_path / "2" / "metadata" / "metadata"
    text = path.read_text()
    assert '"number": 2' in text
    path.write_text(text.replace('"number": 2', '"number": 3'))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(abstract(), lambda text: None)[1] == {"number": 1}


def test_all_damaged_names_the_directory_and_deletes_nothing(tmp_path):
    save(tmp_path, [1, 2])
    for step in ("1", "2"):
        damage(tmp_path / step, "truncate")
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(UserError, match=f"{tmp_path}.*delete"):
            checkpoints.restore(abstract(), lambda text: None)
        assert checkpoints.steps() == [1, 2]
    with pytest.raises(UserError, match=f"{tmp_path}/2 cannot be read"):
        restore_params(tmp_path, abstract_params(FAMILY, runs.layout()), 2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax, on a broken file
def test_every_damaged_file_is_survived(tmp_path):
    """A flipped bit anywhere gives either the very state that was saved or the one before."""
    save(tmp_path / "good", [1, 2])
    expected = {2: fingerprint(make(2)), 1: fingerprint(make(1))}
    files = [path for path in (tmp_path / "good" / "2").rglob("*") if path.is_file() and path.stat().st_size]
    for number, path in enumerate(files):
        copy = tmp_path / str(number)
        shutil.copytree(tmp_path / "good", copy)
        target = copy / path.relative_to(tmp_path / "good")
        data = bytearray(target.read_bytes())
        data[len(data) // 3] ^= 4
        target.write_bytes(data)
        with Checkpoints(copy) as checkpoints:
            restored, metadata = checkpoints.restore(abstract(), lambda text: None)
        assert fingerprint(restored) == expected[metadata["number"]], target


@pytest.mark.parametrize("how", ["truncate", "flip"])
def test_damaged_steps_are_told_without_a_model(tmp_path, how):
    save(tmp_path, [1, 2])
    assert damaged_steps(tmp_path) == []
    damage(tmp_path / "2", how)
    assert damaged_steps(tmp_path) == [2]


@pytest.mark.parametrize("file", ["metadata/metadata", "state/_METADATA"])
def test_steps_with_each_others_files_are_damaged(tmp_path, file):
    save(tmp_path / "good", [1, 2])
    save(tmp_path / "other", [2], keep=())
    here, there = (tmp_path / name / "2" / file for name in ("good", "other"))
    there.write_bytes((tmp_path / "good" / "1" / file).read_bytes().replace(b"tokens", b"tokenz"))
    here.write_bytes(there.read_bytes())
    assert damaged_steps(tmp_path / "good") == [2]


def test_arrays_of_another_save_are_noticed(tmp_path):
    """Files that are whole, but not those that belong to this step."""
    save(tmp_path, [1, 2])
    shutil.rmtree(tmp_path / "2" / "state")
    shutil.copytree(tmp_path / "1" / "state", tmp_path / "2" / "state")
    with pytest.raises(UserError, match="/2 cannot be read"):
        restore_params(tmp_path, abstract_params(FAMILY, runs.layout()), 2)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(abstract(), lambda text: None)[1] == {"number": 1}


def test_interrupted_saves_are_ignored_and_cleaned(tmp_path):
    save(tmp_path, [1, 2])
    unfinished = [tmp_path / f"{step}.orbax-checkpoint-tmp" for step in (3, 9)]
    for folder in unfinished:
        shutil.copytree(tmp_path / "2" / "state", folder / "state")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(abstract())[1] == {"number": 2}
        checkpoints.save(3, make(3), {"number": 3})
        checkpoints.wait()
        assert checkpoints.restore(abstract())[1] == {"number": 3}
    assert not any(folder.exists() for folder in unfinished)


def test_a_checkpoint_that_was_to_be_deleted_goes_at_the_next_start(tmp_path):
    save(tmp_path, [1, 2, 3, 4], keep=[1, 2])
    (tmp_path / "2" / "state").rename(tmp_path / "2" / "other")  # a kill came in the middle of it
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.delete_others([1])
        assert checkpoints.steps() == [1, 3, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3", "4"]


def test_reading_disturbs_no_save_in_progress(tmp_path):
    save(tmp_path, [1])
    unfinished = tmp_path / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "1", unfinished)
    restore_params(tmp_path, abstract_params(FAMILY, runs.layout()), 1)
    assert unfinished.exists()


def test_fingerprint_sees_every_change():
    tree = {"a": np.arange(6, dtype=np.float32), "b": {"c": np.zeros((2, 0), np.int32)}}
    changed = [
        {**tree, "a": np.nextafter(tree["a"], np.float32(9))},
        {**tree, "a": tree["a"].reshape(2, 3)},
        {**tree, "a": tree["a"].view(np.int32)},
        {"A": tree["a"], "b": tree["b"]},
        {**tree, "b": {"c": np.zeros((0, 2), np.int32)}},
        {**tree, "a": tree["a"][::-1]},
    ]
    prints = {fingerprint(other) for other in [tree, *changed]}
    assert len(prints) == len(changed) + 1
    assert fingerprint(jax.tree.map(jax.numpy.asarray, tree)) == fingerprint(tree)


FULL_DISK = """
import resource, sys
from emnat_jax.errors import UserError
from emnat_jax.training.checkpoint import Checkpoints
from tests.training.test_checkpoint import make
try:
    with Checkpoints(sys.argv[1]) as checkpoints:
        state = make(1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY))
        checkpoints.save(1, state, {})
        checkpoints.wait()
except UserError as error:
    print(error)
"""


def test_what_other_tasks_have_to_say_is_heard():
    def news(text: str, error: Exception | None = None) -> bool:
        about = None if error is None else (type(error), error, None)
        return _is_news(logging.LogRecord("asyncio", logging.ERROR, __file__, 1, text, None, about))

    unasked = "Task exception was never retrieved\nfuture: <Task finished>"
    assert news(unasked, ValueError("of a program that trains a model beside its own work"))
    assert not news(unasked, ValueError("Error writing file: No space left on device"))
    assert news("another") and not news("Error in background save thread")


def test_a_full_disk_is_told_in_one_message(tmp_path):
    """A limit on the size of files, which the system reports as it does a full disk.

    Each array is written by a task of its own. At the end of the process asyncio would tell of each error,
    with a traceback.
    """
    words = [sys.executable, "-c", FULL_DISK, str(tmp_path / "checkpoints")]
    found = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert "no space left on the disk" in found.stdout and found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr
