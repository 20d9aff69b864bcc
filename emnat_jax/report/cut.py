"""What a report and a log say of sentences that were cut."""

from emnat_jax.report.record import Cut

NAMES = {"valid": "valid sources", "test": "test sources", "test_multi": "sources with several references"}


def describe_cut(cut: Cut) -> str:
    """How many, which, what it does to the scores, and the remedy."""
    numbers = ", ".join(map(str, cut.lines)) + (", ..." if cut.sources > len(cut.lines) else "")
    return (
        f"{cut.sources:,} {NAMES[cut.split]} ({cut.share:.1%}) have more than {cut.limit} tokens and were "
        f"cut there, while their references are whole: lines {numbers}. Scores are too low by that; give "
        "data.buckets a wider last bucket, in a new workdir."
    )
