"""After a training: the value of the option that moves the length of outputs, tuned on the valid split."""

import dataclasses
import functools
from collections.abc import Sequence

from emnat_jax.artifacts.records import Row
from emnat_jax.config import LengthChoices, Scoring
from emnat_jax.data.pairs import make_pairs
from emnat_jax.em.context import Context
from emnat_jax.em.train_options import TrainOptions
from emnat_jax.em.valid_score import valid_rows
from emnat_jax.evaluation.bleu import corpus_bleu, length_ratio
from emnat_jax.inference.candidates import Candidates
from emnat_jax.inference.sentences import best_text
from emnat_jax.training.manifest import Tried, TunedLength
from emnat_jax.types import Params


def tune_length(context: Context, options: TrainOptions, params: Params, label: str) -> TunedLength | None:
    """The value with the best BLEU on the first `best_rows` of the valid split; `log` has one line of it.

    None where `options.train.tune_length` does not ask for it, and where nothing moves the length of what
    the decoder in use gives. All processes call it together, and agree. `label` is for messages.
    """
    if not options.train.tune_length:
        return None
    model = options.resolved(context.vocabulary.size)
    choices = model.options.length_choices()
    if choices is None:
        context.log(f"{label}: no option moves the length of what its decoder gives; nothing is tuned")
        return None
    decoding = dataclasses.replace(model, options=choices.options)
    rows, tried = valid_rows(context, options.train.best_rows), []
    pairs, scoring = make_pairs(rows), options.scoring or Scoring()
    compiled = context.compiled(decoding, options.buckets)
    outputs = compiled.decode_by_length(params, pairs, choices.values)
    for value, found in zip(choices.values, outputs, strict=True):
        measure = functools.partial(_measured, context, scoring, rows, found)
        measured = context.processes.broadcast(f"{label}: length", measure)
        tried.append(Tried(value, *measured))
    best = best_of(tried, choices.configured)
    context.log(f"{label}: {_described(choices, tried, best)}")
    return TunedLength(choices.option, choices.decoder, best.value, tuple(tried))


def _measured(
    context: Context, scoring: Scoring, rows: Sequence[Row], found: Sequence[Candidates]
) -> list[float]:
    """BLEU and length ratio."""
    lines = [best_text(candidates, context.vocabulary) for candidates in found]
    references = [[row.target_text for row in rows]]
    return [corpus_bleu(lines, references, scoring), length_ratio(lines, references, scoring)]


def best_of(tried: Sequence[Tried], configured: float) -> Tried:
    """The best BLEU; of equals the value nearest to the configured one, and of those the smaller."""
    return min(tried, key=lambda one: (-one.bleu, abs(one.value - configured), one.value))


def _described(choices: LengthChoices, tried: Sequence[Tried], best: Tried) -> str:
    """What was tried and what is taken, on one line; an end of the list is not known to be the best."""
    each = ", ".join(f"{one.value:g} (BLEU {one.bleu:.2f}, length {one.length_ratio:.3f})" for one in tried)
    at_end = best.value in (choices.values[0], choices.values[-1])
    beyond = "; one beyond these is tried where it is the configured value" if at_end else ""
    return (
        f"{choices.option}={best.value:g} is best on the valid split with the decoder {choices.decoder}; "
        f"tried: {each}{beyond}"
    )
