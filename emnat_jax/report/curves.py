"""The charts of a run: quality, multi-modality and losses over rounds and steps."""

from collections.abc import Callable, Sequence

from emnat_jax.report.charts import bar_chart, line_chart
from emnat_jax.report.markup import figures
from emnat_jax.report.record import Curve, LengthBucket, Multimodality, Report, Scores
from emnat_jax.report.rounds import NAMES

Line = list[tuple[int, float]]
Points = tuple[tuple[int, float], ...]
NATS = "nats per token"
NCM = "NCM, its negative log-likelihood per token"


def curves(report: Report) -> str:
    """The section."""
    drawn = [
        ("Quality by round", line_chart(_quality(report, lambda test: test.bleu), "round", "BLEU")),
        ("chrF++ by round", line_chart(_quality(report, lambda test: test.chrf), "round", "chrF++")),
        ("Repeated tokens", line_chart(_quality(report, _repeats), "round", "% of tokens")),
        (
            f"Multi-modality of the student's targets ({NCM}): lower is easier to learn",
            line_chart(_ncm(report), "round", NATS),
        ),
        (
            "NCM on the training sentences = teacher NLL + total correlation",
            line_chart(_parts(report), "round", NATS),
        ),
        ("Quality by length, last round", _by_length(report.by_length[str(report.rounds[-1].round)])),
        *(
            (
                f"Training of the {role}; the two losses are on different targets: levels do not compare",
                line_chart(_losses(report, role), "step", NATS),
            )
            for role in ("teacher", "student")
        ),
        *(
            (f"BLEU of the {role} on the valid split while it trains", line_chart(found, "step", "BLEU"))
            for role in ("teacher", "student")
            if (found := _valid_bleu(report, role))
        ),
    ]
    return f"<h2>Curves</h2>{figures(drawn)}"


def _quality(report: Report, read: Callable[[Scores], float]) -> dict[str, Line]:
    """A measurement of the reported split by round, a line a system."""
    lines: dict[str, Line] = {}
    for found in report.rounds:
        for name, system in found.systems.items():
            lines.setdefault(NAMES[name], []).append((found.round, read(system.reported)))
    return lines


def _repeats(test: Scores) -> float:
    return 100 * test.repeat_rate


def _ncm(report: Report) -> dict[str, Line]:
    return {
        "training sentences": [(found.round, found.ncm.train.ncm) for found in report.rounds],
        "valid split": [(found.round, found.ncm.valid.ncm) for found in report.rounds],
    }


def _parts(report: Report) -> dict[str, Line]:
    """What NCM on the training sentences is the sum of."""
    parts: dict[str, Callable[[Multimodality], float]] = {
        "teacher NLL": lambda ncm: ncm.teacher_nll,
        "total correlation: what the student loses in one pass": lambda ncm: ncm.total_correlation,
    }
    return {
        name: [(found.round, read(found.ncm.train)) for found in report.rounds]
        for name, read in parts.items()
    }


def _by_length(buckets: Sequence[LengthBucket]) -> str:
    names = [f"{bucket.tokens} ({bucket.sentences})" for bucket in buckets]
    systems = {NAMES[name]: [bucket.bleu[name] for bucket in buckets] for name in buckets[0].bleu}
    return bar_chart(names, systems, "tokens of the reference (sentences)", "BLEU")


def _losses(report: Report, role: str) -> dict[str, Line]:
    return _by_step(
        report,
        role,
        lambda curve: {", training loss": curve.loss, ", valid loss, on references": curve.valid_loss},
    )


def _valid_bleu(report: Report, role: str) -> dict[str, Line]:
    return _by_step(report, role, lambda curve: {"": curve.valid_bleu})


def _by_step(report: Report, role: str, read: Callable[[Curve], dict[str, Points]]) -> dict[str, Line]:
    """Lines of each round; a model that goes on from the last round's goes on to the right of it."""
    series: dict[str, Line] = {}
    before = 0
    for curve in (curve for curve in report.curves if curve.role == role):
        for label, points in read(curve).items():
            if points:
                series[f"round {curve.round}{label}"] = [(before + step, value) for step, value in points]
        if report.config.em.warm_start:
            before += _last_step(curve)
    return series


def _last_step(curve: Curve) -> int:
    return max((step for step, _ in (*curve.loss, *curve.valid_loss)), default=0)
