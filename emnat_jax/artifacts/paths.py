"""Where everything lies in a workdir: paths relative to it, with `/` between their parts.

Names inside one folder stand with what writes them: `manifest.MANIFEST_NAME` in the folder of every set and
model, `shards.PLAN_NAME` and `records.shard_name` in that of a set, `journal.JOURNAL_NAME` in a workdir, and
those of the vocabulary in `data/vocab.py`.
"""

CONFIG = "config.json"
VOCABULARY = "vocab"
DATA = "data"
TRAIN = "data/train"
MONO = "data/mono"  # sources without translations
ROUNDS = "rounds"
REPORT = "report"
REPORT_JSON = "report/report.json"
REPORT_PAGE = "report/index.html"
LATENCY = "report/latency.jsonl"
THROUGHPUT = "report/throughput.jsonl"
TABLE = "report/table.txt"
SWEEP_JSON = "report/sweep.json"
MODELS = "models"  # what `emnat train` makes where no folder is given; no round looks there
FINETUNE = "finetune"  # the student of the last round after further training
FINETUNE_EVALUATION = "finetune/eval.json"
FINETUNE_OUTPUTS = "finetune/outputs"
EXPORTS = "exports"  # what `emnat export` makes where no folder is given
CELLS = "cells"  # of a sweep: each a workdir of its own

# In the folder of a model.
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
TRAINED_FROM = "TRAINED_FROM.json"  # what the training was begun with

EVALUATION = "eval.json"  # in the folder of a round


def split(name: str) -> str:
    """The prepared records of `train`, `valid` or `test`."""
    return f"{DATA}/{name}"


def round_folder(index: int) -> str:
    """Everything that round `index` makes."""
    return f"{ROUNDS}/{index}"


def model(index: int, role: str) -> str:
    """The teacher, the student, the control or the student of a fold that round `index` trains."""
    return f"{round_folder(index)}/{role}"


def finetuned(name: str) -> str:
    """The `student` that was trained on after the last round, or its `control`."""
    return f"{FINETUNE}/{name}"


def fold(index: int) -> str:
    """What the student that does not learn from fold `index` is called in the folder of a round."""
    return f"fold_{index}"


def distilled(index: int) -> str:
    """The teacher's best translation of each source."""
    return f"{round_folder(index)}/distilled"


def distilled_mono(index: int) -> str:
    """The teacher's best translation of each source that has no other."""
    return f"{round_folder(index)}/distilled_mono"


def n_best(index: int) -> str:
    """The teacher's N best translations of each source."""
    return f"{round_folder(index)}/n_best"


def candidates(index: int) -> str:
    """The candidates of each source with the scores of the models."""
    return f"{round_folder(index)}/candidates"


def selected(index: int) -> str:
    """What the E-step of a round chose."""
    return f"{round_folder(index)}/selected"


def evaluation(index: int) -> str:
    """The metrics of a round."""
    return f"{round_folder(index)}/{EVALUATION}"


def outputs(index: int) -> str:
    """The folder with what the systems of a round translated."""
    return f"{round_folder(index)}/outputs"


def output_name(split: str, system: str) -> str:
    """The file of what a system made of a split, a line a sentence, in the folder of the outputs."""
    return f"{split}.{system}.txt"


def cell(group: str, name: str, seed: int) -> str:
    """The workdir of one run of a sweep, relative to the sweep's."""
    return f"{CELLS}/{group}/{name}/{seed}"
