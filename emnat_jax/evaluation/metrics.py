"""sacreBLEU's metrics for a `Scoring`, and the tokens that they count."""

from collections.abc import Callable, Sequence
from typing import Any

from emnat_jax.config import UNSPACED, Scoring
from emnat_jax.errors import UserError

_EXTRAS = {"ja-mecab": "ja", "ko-mecab": "ko"}


def make_metrics(scoring: Scoring = Scoring(), *, effective_order: bool = False) -> dict[str, Any]:
    """BLEU and chrF++ of sacrebleu by name, with `scoring.ter` also TER.

    `effective_order` is for BLEU of single sentences. UserError where a package is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF, TER
    except ImportError as error:
        raise UserError(
            "evaluation needs the package sacrebleu; install it: pip install sacrebleu"
        ) from error
    lowercase = scoring.lowercase
    try:
        bleu = BLEU(tokenize=scoring.tokenizer, lowercase=lowercase, effective_order=effective_order)
    except RuntimeError as error:
        extra = _EXTRAS.get(scoring.tokenizer)
        if extra is None:
            raise
        raise UserError(
            f"the BLEU tokenizer {scoring.tokenizer} needs packages that are not installed: "
            f"pip install 'emnat_jax[{extra}]', or count characters: evaluation.tokenizer=char, "
            "of emnat evaluate --tokenizer=char."
        ) from error
    metrics: dict[str, Any] = {"BLEU": bleu, "chrF2++": CHRF(word_order=2, lowercase=lowercase)}
    if scoring.ter:
        metrics["TER"] = TER(case_sensitive=not lowercase)
    return metrics


def require_metrics(scoring: Scoring = Scoring()) -> None:
    """UserError, with what to install, where a package is missing that scores need."""
    make_metrics(scoring)


def make_tokenizer(scoring: Scoring = Scoring()) -> Callable[[str], list[str]]:
    """line -> the tokens that BLEU counts."""
    tokenize = make_metrics(scoring)["BLEU"].tokenizer

    def tokens(line: str) -> list[str]:
        return tokenize((line.lower() if scoring.lowercase else line).rstrip()).split()

    return tokens


def as_scored(name: str, lines: Sequence[str | None], scoring: Scoring) -> list[str | None]:
    """The lines as the metric `name` takes them: TER parts words at spaces, and some text has none."""
    if name != "TER" or scoring.tokenizer not in UNSPACED:
        return list(lines)
    tokens = make_tokenizer(scoring)
    return [None if line is None else " ".join(tokens(line)) for line in lines]


def signature_of(name: str, signature: Any, scoring: Scoring) -> str:
    """As sacrebleu says it, and what `as_scored` has done before."""
    if name != "TER" or scoring.tokenizer not in UNSPACED:
        return str(signature)
    return str(signature).replace("|tok:", f"|tok:{scoring.tokenizer}+")


def is_scored_so(signature: str, scoring: Scoring) -> bool:
    """Whether a BLEU signature is one of this scoring, by any version of the packages."""
    parts = dict(part.split(":", 1) for part in signature.split("|") if ":" in part)
    same_tokens = parts.get("tok", "").startswith(scoring.tokenizer)
    return same_tokens and parts.get("case") == ("lc" if scoring.lowercase else "mixed")
