"""Quality of single sentences against a reference, between 0 and 1."""

from collections.abc import Sequence

from emnat_jax.evaluation.bleu import require_library


def sentence_quality(kind: str, outputs: Sequence[str], reference: str) -> list[float]:
    """chrF++ (`chrf`; Popovic 2017) or BLEU with effective order (`bleu`) of each output, by sacrebleu."""
    require_library()
    from sacrebleu.metrics import BLEU, CHRF

    metric = CHRF(word_order=2) if kind == "chrf" else BLEU(effective_order=True)
    return [metric.sentence_score(output, [reference]).score / 100 for output in outputs]
