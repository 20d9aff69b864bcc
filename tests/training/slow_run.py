"""A run in a process of its own, slow enough to be killed: python -m tests.training.slow_run DIRECTORY."""

import dataclasses
import pathlib
import sys
import time

from tests import tiny_family
from tests.training import runs

CONFIG = dataclasses.replace(runs.CONFIG, steps=24, log_every=2, eval_every=5, checkpoint_every=1)


class SlowStream(tiny_family.Stream):
    """Takes its time for every batch."""

    def __next__(self):
        time.sleep(0.03)
        return super().__next__()


if __name__ == "__main__":
    print(runs.train(pathlib.Path(sys.argv[1]), CONFIG, stream=SlowStream()).fingerprint)
