"""One process of a run of several: python -m tests.training.joint_run DIRECTORY STEPS FSDP MODEL [SECONDS].

The run is that of `runs.train` on all devices; SECONDS is how long it takes over each batch. The environment
says how the processes find each other. Prints the fingerprint of the parameters and the last loss.
"""

import dataclasses
import sys
import time
from pathlib import Path

import jax

from emnat_jax.config import MeshConfig
from emnat_jax.runtime.mesh import local_rows, make_layout
from emnat_jax.runtime.processes import start
from tests import tiny_family
from tests.training import runs


class SharedStream(tiny_family.Stream):
    """This process's rows of each batch."""

    def __init__(self, layout, seconds: float):
        super().__init__()
        self._layout, self._seconds = layout, seconds

    def __next__(self):
        time.sleep(self._seconds)
        return mine(self._layout, super().__next__())


def mine(layout, batch):
    return jax.tree.map(lambda leaf: local_rows(layout, leaf), batch)


def main(directory: str, steps: str, fsdp: str, model: str, seconds: str = "0") -> None:
    processes = start()
    layout = make_layout(MeshConfig(fsdp=int(fsdp), model=int(model)))
    result = runs.train(
        Path(directory),
        dataclasses.replace(runs.CONFIG, steps=int(steps)),
        stream=SharedStream(layout, float(seconds)),
        on=layout,
        valid_batches=lambda: [mine(layout, batch) for batch in runs.VALID],
        processes=processes,
        flops=runs.positions,
    )
    print(f"{result.fingerprint} {result.valid_loss!r}", flush=True)
    processes.leave(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
