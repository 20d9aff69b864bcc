"""Sets made of other sets, after kills at moments that leave little."""

from etils import epath

from emnat_jax.artifacts.dataset import Provenance, read_dataset
from emnat_jax.artifacts.manifest import Manifest
from emnat_jax.artifacts.records import shard_name
from emnat_jax.data import shard_workers
from emnat_jax.data.shard_workers import Conclusion, ShardWorkers, derive_dataset
from tests.data.rows import random_rows

ROWS, COUNT = random_rows(6), 3
MADE_OF = Provenance("distilled", {"vocabulary": "v", "source": "s", "model": "m"}, {"num_candidates": 1}, 1)


def source() -> Manifest:
    shards = [{"name": shard_name(i, COUNT), "rows": 2, "sha256": ""} for i in range(COUNT)]
    return Manifest("bitext", "s", 6, 6, {}, shards, {"vocabulary": "v"}, {}, 1)


def derive(output) -> Manifest:
    def make_shard(unfinished, name):
        index = int(name.split("-")[1])
        if unfinished.made(name) is None:
            unfinished.write(name, ROWS[2 * index : 2 * index + 2])
        return {}

    workers = ShardWorkers(log=lambda text: None, starts_over=False)
    done = {"make_shard": make_shard, "conclude": lambda rows, counts: Conclusion({}, {}), "workers": workers}
    return derive_dataset(source(), epath.Path(output), MADE_OF, **done)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_kill_after_the_manifest_leaves_nothing_that_the_next_run_does_not_take_away(tmp_path, monkeypatch):
    whole = derive(tmp_path / "whole")
    assert [row.row for row in read_dataset(tmp_path / "whole")] == [row.row for row in ROWS]
    with monkeypatch.context() as killed:
        killed.setattr(shard_workers, "forget_plan", lambda folder: None)
        derive(tmp_path / "killed")
    assert len(names(tmp_path / "killed")) == len(names(tmp_path / "whole")) + COUNT + 1
    assert derive(tmp_path / "killed").content_hash == whole.content_hash
    assert names(tmp_path / "killed") == names(tmp_path / "whole")
