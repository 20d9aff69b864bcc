"""What a run made, from what, and with which options and versions."""

import json

from emnat_jax.report.convert import to_json
from emnat_jax.report.markup import table, text
from emnat_jax.report.record import Report

ABOUT = (
    "What the run made, in order, and what each was made from. Without seconds: made by another run, or by "
    "another command. Equal hashes mean equal contents."
)


def provenance(report: Report) -> str:
    """The section: every set and model."""
    names = {made.content_hash: name for name, made in reversed(report.provenance.items())}
    head = ("set or model", "rows", "rows dropped", "made from", "content hash", "seconds")
    lines = []
    for name, made in report.provenance.items():
        parents = [f"{role}: {names.get(value, value[:12])}" for role, value in made.fingerprints.items()]
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in made.dropped.items() if count)
        seconds = f"{report.seconds[name]:.0f}" if name in report.seconds else ""
        lines.append((name, f"{made.rows:,}", dropped, "; ".join(parents), made.content_hash[:12], seconds))
    return f"<h2>Pipeline and provenance</h2><p>{text(ABOUT)}</p>{table(head, lines)}"


def settings(report: Report) -> str:
    """The section: machine, versions and the whole configuration."""
    here = report.environment
    packages = ", ".join(f"{name} {version}" for name, version in here.versions.items())
    about = f"{here.devices}, {here.platform}, Python {here.python}; {packages}; seed {report.config.seed}."
    config = text(json.dumps(to_json(report.config), indent=1, ensure_ascii=False))
    return (
        f"<h2>Settings</h2><p>{text(about)}</p>"
        f"<details><summary>Configuration</summary><pre>{config}</pre></details>"
    )
