"""What a sweep reports, as types: sweep.json. `report/convert.py` writes it and reads it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Steps:
    """Optimizer steps of all rounds of a run together; a frozen teacher takes none after round 0."""

    teacher: int
    student: int


@dataclasses.dataclass(frozen=True)
class Gain:
    """BLEU of a run's student over that of the baseline's, same seed, same sentences."""

    over: str  # the baseline's cell
    bleu: float  # difference, percent
    p_value: float  # one-sided, of the paired bootstrap
    of: tuple[str, ...]  # what the p value belongs to: hashes of outputs and references, the signature


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run: the last round of one cell with one seed."""

    group: str
    cell: str
    seed: int
    folder: str  # its workdir, relative to the sweep's
    round: int  # the last
    steps: Steps
    measurements: dict[str, float]
    outputs: dict[str, str]  # hash of the student's translations, by split
    references: dict[str, str]  # hash of the references, by split
    signatures: dict[str, str]  # of BLEU, by split
    gains: dict[str, Gain]  # by split; none of the baseline itself


@dataclasses.dataclass(frozen=True)
class OverSeeds:
    """A measurement of all finished seeds of a cell."""

    mean: float
    sd: float | None  # sample standard deviation; None of one seed
    values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class GainOverSeeds(OverSeeds):
    """A gain in BLEU over the baseline, seed by seed."""

    p_values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class CellSummary:
    """One configuration of the grid over its finished seeds."""

    group: str
    cell: str
    seeds: tuple[int, ...]
    steps: Steps
    measurements: dict[str, OverSeeds]
    gains: dict[str, GainOverSeeds]  # by split


@dataclasses.dataclass(frozen=True)
class Subject:
    """What the runs have in common."""

    source_language: str
    target_language: str
    corpus: str
    pairs: int  # of the training set
    seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class SweepReport:
    """A sweep: sweep.json."""

    about: Subject
    runs: tuple[Run, ...]
    baselines: dict[str, str]  # cell that the others are compared with, by group
    cells: tuple[CellSummary, ...]
    missing: tuple[str, ...]  # folders of the runs that are not finished
    signatures: dict[str, str]  # of BLEU, by split
    damaged: dict[str, str] = dataclasses.field(default_factory=dict)  # folder of a run -> what is wrong
