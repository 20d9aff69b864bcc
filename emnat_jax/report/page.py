"""The report of a run as one HTML page, from it alone: no script, no network, readable on a phone."""

from emnat_jax.report.choices import choices
from emnat_jax.report.curves import curves
from emnat_jax.report.finetuned import finetuned
from emnat_jax.report.markup import document
from emnat_jax.report.provenance import provenance, settings
from emnat_jax.report.record import Report
from emnat_jax.report.rounds import rounds
from emnat_jax.report.sentences import sentences
from emnat_jax.report.speed import speed_section
from emnat_jax.report.summary import languages, summary


def page(report: Report) -> str:
    """The whole page."""
    title = f"EM report: {languages(report.config.data)}"
    if not report.rounds:
        return document(title, "<p>No round is finished.</p>")
    parts = [
        summary(report),
        rounds(report),
        finetuned(report),
        curves(report),
        speed_section(report.latency, report.throughput),
        choices(report.rounds),
        sentences(report.samples, report.config.scoring.tokenizer),
        provenance(report),
        settings(report),
    ]
    return document(title, "".join(parts))
