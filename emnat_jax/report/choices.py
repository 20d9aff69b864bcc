"""What the E-steps of a run chose, on its page."""

from collections.abc import Sequence

from emnat_jax.report.charts import bar_chart
from emnat_jax.report.markup import figures, table, text
from emnat_jax.report.record import RoundReport, Selection

ABOUT = (
    "After a round the teacher (or the student, as configured) proposes several translations of each "
    "training sentence; the E-step chooses which of them is learned from next, by how likely the student "
    "finds them and by what the rule adds. Ranks are places in the proposer's list; log p is under the "
    "teacher of round 0. Choices that it finds less likely from round to round show that the loop drifts "
    "away from what it knew."
)
COMPARED = " chrF++ is that of single sentences against their references, in the mean of the first {:,}."


def choices(rounds: Sequence[RoundReport]) -> str:
    """The section; empty without an E-step."""
    steps = {found.round: found.selection for found in rounds if found.selection}
    if not steps:
        return ""
    widest = max(len(chosen.rank_histogram) for chosen in steps.values())
    shares = {
        f"after round {index}": _shares(chosen.rank_histogram, widest) for index, chosen in steps.items()
    }
    names = [str(rank + 1) for rank in range(widest)]
    drawn = figures([("Choices by rank", bar_chart(names, shares, "rank in the list", "% of sentences"))])
    compared = max(chosen.compared_rows for chosen in steps.values())
    about = ABOUT + (COMPARED.format(compared) if compared else "")
    return f"<h2>What the E-step chose</h2><p>{text(about)}</p>{drawn}{_table(steps, compared > 0)}"


def _shares(counts: Sequence[float], width: int) -> list[float]:
    """In percent, with zeros up to `width`."""
    total = max(sum(counts), 1)
    return [100 * count / total for count in counts] + [0.0] * (width - len(counts))


def _table(steps: dict[int, Selection], is_compared: bool) -> str:
    head = (
        "after round",
        "rule",
        "share of rank 1",
        "log p per token, choices",
        "log p per token, rank 1",
        "difference",
        "tokens per target",
        *(("chrF++, choices", "chrF++, rank 1") if is_compared else ()),
    )
    checked = any(chosen.share_valid is not None for chosen in steps.values())
    lines = [(index, *_line(chosen, is_compared)) for index, chosen in steps.items()]
    return table((*head, *(("valid choices",) if checked else ())), lines)


def _line(chosen: Selection, is_compared: bool) -> tuple[str, ...]:
    ours, first = chosen.teacher0_log_prob_per_token, chosen.rank1_teacher0_log_prob_per_token
    valid = () if chosen.share_valid is None else (f"{chosen.share_valid:.2%}",)
    nats = (f"{ours:.3f}", f"{first:.3f}", f"{ours - first:+.3f}")
    qualities = (chosen.quality, chosen.rank1_quality) if is_compared else ()
    percents = ("-" if quality is None else f"{100 * quality:.2f}" for quality in qualities)
    tokens = f"{chosen.tokens_per_target:.2f}"
    return (chosen.options.rule, f"{chosen.agreement:.1%}", *nats, tokens, *percents, *valid)
