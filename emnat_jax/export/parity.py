"""What an exported model is worth beside the trained one: equal outputs, and BLEU of each precision."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emnat_jax.config import Scoring
from emnat_jax.data.pairs import Pairs
from emnat_jax.evaluation.bleu import corpus_bleu, signed_bleu
from emnat_jax.inference.sentences import best_text
from emnat_jax.inference.translator import Translator

LOSS = 0.2  # BLEU that a smaller precision may lose


class Sample(NamedTuple):
    """Sentences with their references, to compare on."""

    pairs: Pairs
    references: Sequence[str]


class Outputs(NamedTuple):
    """What a model makes of the sample."""

    tokens: list[list[int]]
    lines: list[str]


def outputs(model: Translator, sample: Sample) -> Outputs:
    """The best translations of the sample."""
    found = model.decode(sample.pairs)
    tokens = [one.tokens[0].tolist() if one.tokens else [] for one in found]
    return Outputs(tokens, [best_text(one, model.vocabulary) for one in found])


def parity(
    trained: Outputs, exported: Mapping[str, Outputs], sample: Sample, scoring: Scoring
) -> dict[str, Any]:
    """By precision: sentences with the tokens of the trained model, and BLEU; and of the trained one."""
    references = [list(sample.references)]
    signature = signed_bleu(list(sample.references), references, scoring)[1]

    def of(found: Outputs) -> dict[str, Any]:
        same = sum(ours == theirs for ours, theirs in zip(found.tokens, trained.tokens, strict=True))
        return {"identical": same, "bleu": corpus_bleu(found.lines, references, scoring)}

    return {
        "sentences": len(sample.references),
        "bleu_signature": signature,
        "trained": of(trained),
        **{name: of(found) for name, found in exported.items()},
    }


def loses(measured: Mapping[str, Any], precision: str) -> float:
    """BLEU that a precision loses against the trained model; negative where it gains."""
    return measured["trained"]["bleu"] - measured[precision]["bleu"]
