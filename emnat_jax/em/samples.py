"""Example sentences of an evaluation, as the report shows them."""

from collections.abc import Mapping, Sequence

from emnat_jax.artifacts.records import Row
from emnat_jax.config import Scoring
from emnat_jax.evaluation.lengths import bucket_name, buckets_of
from emnat_jax.inference.alternatives import Alternatives, choices
from emnat_jax.report.record import SYSTEMS, Position, Sample


def make_samples(
    rows: Sequence[Row],
    outputs: Mapping[tuple[str, str], list[str]],
    alternatives: Mapping[int, Alternatives],
    pieces: Sequence[str],
    split: str,
    scoring: Scoring,
) -> tuple[Sample, ...]:
    """Sentences of a split with what each system made of them and what the student chose between.

    `rows` are those of the split, `outputs` the translations by system and split; `alternatives` say by place
    in `rows` which are shown.
    """
    shown = [(name, split) for name in SYSTEMS if name != "control"]
    by_system = {name: outputs[name, split] for name, split in shown if (name, split) in outputs}
    buckets = buckets_of([rows[i].target_text for i in alternatives], scoring)
    return tuple(
        Sample(
            tokens=bucket_name(bucket),
            source=rows[i].source_text,
            reference=rows[i].target_text,
            **{name: lines[i] for name, lines in by_system.items()},
            alternatives=_positions(found, pieces),
        )
        for bucket, (i, found) in zip(buckets, alternatives.items(), strict=True)
    )


def _positions(found: Alternatives, pieces: Sequence[str]) -> tuple[Position, ...]:
    """As the report keeps them: probabilities to four decimals."""
    return tuple(
        Position(
            choice.position,
            choice.taken,
            round(choice.probability, 4),
            tuple((piece, round(probability, 4)) for piece, probability in choice.likely),
        )
        for choice in choices(found, pieces)
    )
