"""How fast systems are, as types: what `emnat benchmark` prints, and a line of the files that keep it.

Written and read as report/record.py says. Fields with a default are missing in lines of earlier versions.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Machine:
    """What timings were taken on."""

    devices: str  # of JAX, e.g. 1 x cpu
    cores: int  # that the process could use; exported models had as many threads
    cpu: str | None  # as the system names it
    platform: str  # operating system and machine
    python: str
    versions: dict[str, str | None]  # of the packages that ran


@dataclasses.dataclass(frozen=True)
class Drafting:
    """What checking a student's drafts took (decoder=verified), over all sentences that were timed."""

    passes: float  # of the teacher for a sentence, mean
    tokens_a_pass: float  # mean, the one included that the teacher itself gives
    lossless: bool  # whether the outputs are those of greedy search


@dataclasses.dataclass(frozen=True)
class BatchTiming:
    """Translation of this many sentences at a time."""

    batch: int
    calls: int  # that were timed, each of one batch
    median_ms: float  # of a call
    p95_ms: float
    sentences_per_second: float  # over all calls
    first_pass_seconds: float  # over all batches, compilation included; in none of the above
    bleu: float | None  # of these translations, each sentence once; None for random weights
    mean_ms: float | None = None  # of a call
    ratio: float | None = None  # median of the system that was named first over this one: above 1 is faster


@dataclasses.dataclass(frozen=True)
class Timing:
    """One system in one `emnat benchmark latency`: a line of latency.jsonl, unless its weights are random."""

    name: str
    role: str
    round: int | None  # None for a model that was named by its folder
    device: str  # e.g. 1 x cpu
    sentences: int  # the first so many of the test split, or of valid where there is none
    bleu_signature: str | None  # None for random weights
    changes: dict[str, str | int | float]  # options of decoding that the round did not have
    batches: tuple[BatchTiming, ...]
    backend: str = "jax"  # what ran it: jax, onnx, ctranslate2 or stablehlo
    precision: str | None = None  # of its matrix products
    machine: Machine | None = None
    drafting: Drafting | None = None  # of a teacher that checks drafts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput:
    """One system in one `emnat benchmark throughput` or `distill`: passes over all sources of a sample.

    A line of throughput.jsonl, unless its weights are random.
    """

    name: str
    role: str
    round: int | None  # as in Timing
    changes: dict[str, str | int | float]
    backend: str
    precision: str
    candidates: int  # searched for each source
    batch: int  # the best size found, in the next field's unit
    batch_unit: str  # rows, or tokens of the sources with padding
    tried: dict[str, float]  # size -> sources a second when the best was looked for, in one pass
    sources: int
    target_tokens: int  # of the best translations, EOS included
    passes: int  # that were timed
    median_seconds: float  # of a pass
    fastest_seconds: float
    slowest_seconds: float
    sources_per_second: float  # in the median pass, as the next
    target_tokens_per_second: float
    ratio: float  # sources a second over those of the first system with as many candidates
    first_pass_seconds: float  # in the best batches, compilation included
    bleu: float | None  # of these translations; None where no text is made
    bleu_signature: str | None
    machine: Machine
    drafting: Drafting | None = None  # as in Timing
