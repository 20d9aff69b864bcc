"""What the E-steps of a run took, on its page."""

from typing import Any

from emnat_jax.report.charts import bar_chart
from emnat_jax.report.markup import figures, table, text

ABOUT = (
    "After a round the teacher (or the student, as configured) proposes several translations of each training sentence; the "
    "E-step chooses which of them is learned from next, by how likely the student finds them and by what the rule adds. Ranks "
    "are places in the proposer's list. If the choices grow less likely under the teacher of round 0 from round to "
    "round, the loop drifts away from what it knew."
)


def choices(rounds: list[dict]) -> str:
    """The section; empty without an E-step."""
    steps = [(item["round"], item["selection"]) for item in rounds if item["selection"]]
    if not steps:
        return ""
    widest = max(len(chosen["rank_histogram"]) for _, chosen in steps)
    shares = {f"after round {index}": _shares(chosen["rank_histogram"], widest) for index, chosen in steps}
    names = [str(rank + 1) for rank in range(widest)]
    drawn = figures([("Choices by rank", bar_chart(names, shares, "rank in the list", "% of sentences"))])
    return f"<h2>What the E-step chose</h2><p>{text(ABOUT)}</p>{drawn}{_table(steps)}"


def _shares(counts: list[float | int], width: int) -> list[float]:
    """In per cent, with zeros up to `width`."""
    total = max(sum(counts), 1)
    return [100 * count / total for count in counts] + [0.0] * (width - len(counts))


def _table(steps: list[tuple[int, dict]]) -> str:
    head = ("after round", "rule", "rank 1 taken", "log p of teacher 0 a token, choices", "the same, rank 1", "difference",
            "tokens a target")  # fmt: skip
    checked = "share_valid" in steps[0][1]
    lines = [(index, *_line(chosen, checked)) for index, chosen in steps]
    return table((*head, *(("valid choices",) if checked else ())), lines)


def _line(chosen: dict[str, Any], checked: bool) -> tuple[str, ...]:
    ours, first = chosen["teacher0_log_prob_per_token"], chosen["rank1_teacher0_log_prob_per_token"]
    valid = (f"{chosen['share_valid']:.2%}",) if checked else ()
    return (chosen["rule"], f"{chosen['agreement']:.1%}", f"{ours:.3f}", f"{first:.3f}", f"{ours - first:+.3f}",
            f"{chosen['tokens_per_target']:.2f}", *valid)  # fmt: skip
