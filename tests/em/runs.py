"""Small EM runs for tests: the generated task, one-layer models, a few steps with dropout on."""

import fcntl
import os
from pathlib import Path

from emnat_jax.config import (
    Config,
    DataConfig,
    EMConfig,
    EvaluationConfig,
    ModelConfig,
    ModesOptions,
    OptimConfig,
    SelectConfig,
    TrainConfig,
    VocabConfig,
)
from tests.em.kills import Kill, in_child

TRAIN = TrainConfig(
    steps=40,
    log_every=10,
    eval_every=20,
    checkpoint_every=15,
    ema_decay=0.9,
    optim=OptimConfig(warmup_steps=10),
)
MODEL = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "ff_width": 32, "heads": 2, "extra_length": 2}


# The paper's loop: all stages there are. test_frozen_teacher.py has the default, one list for all E-steps.
PAPER_LOOP = {"update_teacher": True, "student_data": "distilled"}
EM = PAPER_LOOP | {
    "rounds": 1,
    "candidates": 2,
    "rows": 80,
    "later_steps_ratio": 0.5,
    "later_lr_ratio": 0.25,
}


def small_config(**em) -> Config:
    """Two shards of training rows, one EM round, two candidates for each of the first 80 rows."""
    return Config(
        data=DataConfig(
            kind="modes",
            buckets=(8,),
            batch_tokens=256,
            decode_rows=64,
            rows_per_shard=64,
            options=ModesOptions(modes=4, words=8, min_length=3, max_length=5, train_rows=120, eval_rows=24),
        ),
        vocab=VocabConfig(size=60, model="word"),
        teacher=ModelConfig(family="ar", **MODEL),
        student=ModelConfig(family="vanilla", **MODEL),
        teacher_train=TRAIN,
        student_train=TRAIN,
        em=EMConfig(**(EM | em)),
        select=SelectConfig(rule="posterior", quality_weight=0.0, include_reference=False),
        evaluation=EvaluationConfig(ncm_rows=64, samples=2),
    )


def run_em(directory: Path, config: Config | None = None) -> dict:
    """Runs or resumes all rounds in this process; the report as report.json has it."""
    from emnat_jax.em.driver import run
    from emnat_jax.report.convert import to_json

    return to_json(run(workspace(directory, config)))


def workspace(directory: Path, config: Config | None = None):
    """The workdir opened for reading, without a log."""
    from emnat_jax.em.workdir import Workspace

    return Workspace(config or small_config(), directory, lambda text: None)


def round_model(work, index: int, role: str):
    """The teacher or student of a round of an open workdir."""
    return work.load(work.round_folder(index, role))


def run_in_child(directory: Path, kill_at: int | None = None, config: Config | None = None) -> int:
    """Runs all rounds in a process of its own; returns its exit code (negative: the signal that ended it).

    With `kill_at` the process kills itself (SIGKILL) in the middle of its `kill_at`-th write of a file or
    checkpoint: half of the calls before the file has its name, half after.
    """
    kill = None if kill_at is None else Kill(kill_at)
    return in_child(run_em, (directory, config), Path(directory).with_suffix(".log"), kill)


def finished_run(tmp_path_factory) -> Path:
    """The workdir of an unbroken `small_config()` run, to be read only; made once for all workers."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    directory = root / "finished" / "run"
    with open(root / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "report/report.json").exists():
            assert run_in_child(directory) == 0, directory.with_suffix(".log").read_text()
    return directory
