"""sacreBLEU, chrF++ and TER of corpora and sentences, with signatures that say how they were computed."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from emnat_jax.config import Scoring
from emnat_jax.errors import UserError
from emnat_jax.evaluation.metrics import as_scored, make_metrics, make_tokenizer, signature_of
from emnat_jax.evaluation.repetition import adjacent_repeat_rate

References = Sequence[Sequence[str | None]]  # sets of lines; None where a sentence has no further reference


@dataclasses.dataclass(frozen=True)
class Quality:
    """Scores of a set of outputs. `dataclasses.asdict` gives them as report.json has them.

    Tokens are those that BLEU counts; its signature names the tokenizer.
    """

    bleu: float  # percent
    bleu_signature: str
    chrf: float  # percent; chrF++, with n-grams of up to two words
    chrf_signature: str
    length_ratio: float  # tokens of the outputs over tokens of the first reference
    repeat_rate: float  # share of neighbouring tokens that are equal
    type_token_ratio: float  # different tokens over tokens
    sentences: int
    ter: float | None = None  # translation edit rate in percent, 0 is best; None where it is not asked for
    ter_signature: str | None = None


def quality(outputs: Sequence[str], references: References, scoring: Scoring = Scoring()) -> Quality:
    """Scores of detokenised outputs against one or more sets of raw references, the first of them whole."""
    require_same_lengths(outputs, references)
    scores = {name: _score(name, outputs, references, scoring) for name in make_metrics(scoring)}
    tokenize = make_tokenizer(scoring)
    tokens = [tokenize(output) for output in outputs]
    ter, ter_signature = scores.get("TER", (None, None))
    return Quality(
        *scores["BLEU"],
        *scores["chrF2++"],
        length_ratio=_length_ratio(tokens, references, tokenize),
        repeat_rate=adjacent_repeat_rate(tokens),
        type_token_ratio=len({token for line in tokens for token in line}) / max(sum(map(len, tokens)), 1),
        sentences=len(outputs),
        ter=ter,
        ter_signature=ter_signature,
    )


def corpus_bleu(outputs: Sequence[str], references: References, scoring: Scoring = Scoring()) -> float:
    """The `bleu` of `quality` alone; chrF++ takes many times as long."""
    return signed_bleu(outputs, references, scoring)[0]


def length_ratio(outputs: Sequence[str], references: References, scoring: Scoring = Scoring()) -> float:
    """The `length_ratio` of `quality` alone."""
    tokenize = make_tokenizer(scoring)
    return _length_ratio([tokenize(output) for output in outputs], references, tokenize)


def _length_ratio(
    tokens: Sequence[Sequence[str]], references: References, tokenize: Callable[[str], Sequence[str]]
) -> float:
    reference_tokens = sum(len(tokenize(line or "")) for line in references[0])
    return sum(map(len, tokens)) / max(reference_tokens, 1)


def signed_bleu(
    outputs: Sequence[str], references: References, scoring: Scoring = Scoring()
) -> tuple[float, str]:
    """`corpus_bleu` with its signature."""
    require_same_lengths(outputs, references)
    return _score("BLEU", outputs, references, scoring)


def _score(name: str, outputs: Sequence[str], references: References, scoring: Scoring) -> tuple[float, str]:
    """A metric in percent, and its signature."""
    metric = make_metrics(scoring)[name]
    score = metric.corpus_score(
        as_scored(name, outputs, scoring), [as_scored(name, lines, scoring) for lines in references]
    ).score
    return score, signature_of(name, metric.get_signature(), scoring)


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
    scoring: Scoring = Scoring(),
    samples: int = 1_000,
    names: Sequence[str] = ("BLEU", "chrF2++", "TER"),
) -> dict[str, Significance]:
    """Paired bootstrap (Koehn 2004) of two systems on the same sentences, by those `names` that are scored.

    The p value is one-sided, as sacrebleu has it: for two equally good systems it is below 0.025 about once
    in twenty times.
    """
    require_same_lengths(outputs, references)
    require_same_lengths(baseline, references)
    from sacrebleu.significance import PairedTest

    found = {}
    for name, metric in make_metrics(scoring).items():
        if name in names:
            systems: Any = [
                (system, as_scored(name, lines, scoring))
                for system, lines in (("baseline", baseline), ("system", outputs))
            ]
            sets: Any = [as_scored(name, lines, scoring) for lines in references]
            test = PairedTest(systems, {name: metric}, sets, test_type="bs", n_samples=samples)
            signatures, results = test()
            found[name] = _significance(results[name], signature_of(name, signatures[name], scoring))
    return found


def _significance(results: Sequence[Any], signature: str) -> Significance:
    """Of sacrebleu's results of the baseline and of the system."""
    baseline, system = results
    # sacrebleu gives equal scores the smallest p value there is.
    p_value = 1.0 if baseline.score == system.score else system.p_value
    return Significance(baseline.score, system.score, p_value, signature)


SentenceQuality = Callable[[Sequence[str], str], list[float]]


def sentence_quality(kind: str, scoring: Scoring = Scoring()) -> SentenceQuality:
    """(outputs, reference) -> chrF++ (`chrf`; Popovic 2017) or BLEU (`bleu`) of each output, from 0 to 1.

    BLEU is of effective order: it leaves out the n-grams that an output is too short for.
    """
    metric = make_metrics(scoring, effective_order=True)["chrF2++" if kind == "chrf" else "BLEU"]
    return lambda outputs, reference: [
        metric.sentence_score(output, [reference]).score / 100 for output in outputs
    ]


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
