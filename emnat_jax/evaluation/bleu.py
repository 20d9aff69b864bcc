"""sacreBLEU and chrF++ of corpora and sentences, with the signatures that say how they were computed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from emnat_jax.errors import UserError
from emnat_jax.evaluation.repetition import adjacent_repeat_rate

References = Sequence[Sequence[str | None]]  # sets of lines; None where a sentence has no further reference


@dataclasses.dataclass(frozen=True)
class Quality:
    """Scores of a set of outputs. `dataclasses.asdict` gives them as report.json has them."""

    bleu: float  # percent
    bleu_signature: str
    chrf: float  # percent; chrF++, with n-grams of up to two words
    chrf_signature: str
    length_ratio: float  # words of the outputs over words of the first reference
    repeat_rate: float  # share of neighbouring words that are equal
    type_token_ratio: float  # different words over words
    sentences: int


def quality(outputs: Sequence[str], references: References) -> Quality:
    """Scores of detokenised outputs against one or more sets of raw references, the first of them whole."""
    require_same_lengths(outputs, references)
    bleu, chrf = _metrics()
    words = [output.split() for output in outputs]
    reference_words = sum(len((line or "").split()) for line in references[0])
    return Quality(
        bleu=bleu.corpus_score(list(outputs), _padded(references)).score,
        bleu_signature=str(bleu.get_signature()),
        chrf=chrf.corpus_score(list(outputs), _padded(references)).score,
        chrf_signature=str(chrf.get_signature()),
        length_ratio=sum(map(len, words)) / max(reference_words, 1),
        repeat_rate=adjacent_repeat_rate(words),
        type_token_ratio=len({word for line in words for word in line}) / max(sum(map(len, words)), 1),
        sentences=len(outputs),
    )


def corpus_bleu(outputs: Sequence[str], references: References) -> float:
    """The `bleu` of `quality` alone; chrF++ takes many times as long."""
    require_same_lengths(outputs, references)
    return _metrics()[0].corpus_score(list(outputs), _padded(references)).score


@dataclasses.dataclass(frozen=True)
class Significance:
    """Two systems compared by one metric on the same sentences."""

    baseline: float  # its score, in percent
    system: float  # its score, in percent
    p_value: float  # of the difference; 1.0 where the scores are equal
    signature: str


def paired_significance(
    outputs: Sequence[str],
    baseline: Sequence[str],
    references: References,
    samples: int = 1_000,
    names: Sequence[str] = ("BLEU", "chrF2++"),
) -> dict[str, Significance]:
    """Paired bootstrap (Koehn 2004) of two systems on the same sentences, by the metrics `names`.

    The p value is one-sided, as sacrebleu has it: for two equally good systems it is below 0.025 about once
    in twenty times.
    """
    require_same_lengths(outputs, references)
    require_same_lengths(baseline, references)
    from sacrebleu.significance import PairedTest

    bleu, chrf = _metrics()
    systems: list[tuple[str, Sequence[str]]] = [("baseline", list(baseline)), ("system", list(outputs))]
    metrics = {name: metric for name, metric in (("BLEU", bleu), ("chrF2++", chrf)) if name in names}
    lines: Any = _padded(references)
    signatures, results = PairedTest(systems, metrics, lines, test_type="bs", n_samples=samples)()
    return {name: _significance(results[name], str(signatures[name])) for name in metrics}


def _significance(results: Sequence[Any], signature: str) -> Significance:
    """Of sacrebleu's results of the baseline and of the system."""
    baseline, system = results
    # sacrebleu gives equal scores the smallest p value there is.
    p_value = 1.0 if baseline.score == system.score else system.p_value
    return Significance(baseline.score, system.score, p_value, signature)


def sentence_quality(kind: str, outputs: Sequence[str], reference: str) -> list[float]:
    """chrF++ (`chrf`; Popovic 2017) or BLEU with effective order (`bleu`) of each output, from 0 to 1."""
    bleu, chrf = _metrics(effective_order=True)
    metric = chrf if kind == "chrf" else bleu
    return [metric.sentence_score(output, [reference]).score / 100 for output in outputs]


def require_same_lengths(outputs: Sequence[str], references: References) -> None:
    """UserError where a reference set has another number of lines; sacrebleu would cut in silence."""
    for index, lines in enumerate(references):
        if len(lines) != len(outputs):
            raise UserError(
                f"{len(outputs)} outputs but {len(lines)} lines in reference set {index + 1}; give files of "
                "the same lines."
            )
    if not outputs:
        raise UserError("nothing to evaluate: the outputs have no lines.")


def _padded(references: References) -> list[list[str | None]]:
    return [list(lines) for lines in references]


def require_library() -> None:
    """UserError when sacrebleu is not installed."""
    _metrics()


def _metrics(*, effective_order: bool = False) -> tuple[Any, Any]:
    """BLEU and chrF++ of sacrebleu; `effective_order` is for BLEU of single sentences."""
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise UserError(
            "evaluation needs the package sacrebleu; install it: pip install sacrebleu"
        ) from error
    return BLEU(effective_order=effective_order), CHRF(word_order=2)
