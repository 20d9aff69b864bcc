"""What the evaluations of a training are compared by, where that is not the loss on the references."""

import functools
import itertools
from collections.abc import Callable

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.records import Row
from emnat_jax.config import Scoring, TrainConfig
from emnat_jax.data.pairs import Pairs, make_pairs
from emnat_jax.em.context import Context
from emnat_jax.em.ncm import outputs_as_targets
from emnat_jax.errors import UserError
from emnat_jax.evaluation.bleu import corpus_bleu
from emnat_jax.inference.model import CompiledModel, TrainedModel
from emnat_jax.inference.sentences import best_text
from emnat_jax.training.choice import ValidScore
from emnat_jax.types import Params


def make_valid_score(
    context: Context,
    scoring: Scoring | None,
    train: TrainConfig,
    functions: CompiledModel,
    teacher: TrainedModel | None,
) -> ValidScore | None:
    """The score that `train.chosen_by` names; None where it is the loss on the references, or nothing.

    What it needs is read and translated when it is first measured. UserError where the outputs of a teacher
    are asked for and there is none.
    """
    rows = functools.cache(lambda: valid_rows(context, train.best_rows))
    match train.chosen_by:
        case "bleu":
            measure = _bleu(context, functions, rows, scoring or Scoring())
            return ValidScore("bleu", measure, larger_is_better=True)
        case "distilled_loss":
            if teacher is None:
                raise UserError(
                    "best_by=distilled_loss looks at a teacher's translations of the valid split; name its "
                    "folder with --teacher=DIR, or use best_by=bleu."
                )
            measure = _distilled_loss(functions, rows, teacher)
            return ValidScore("distilled_loss", measure, larger_is_better=False)
        case _:
            return None


def valid_rows(context: Context, count: int | None) -> list[Row]:
    """The first rows of the valid split; none in a process whose part of the work is another's."""
    if context.workers.part.index:
        return []
    return list(itertools.islice(read_dataset(context.directory / paths.split("valid")), count))


def _bleu(
    context: Context, functions: CompiledModel, rows: Callable[[], list[Row]], scoring: Scoring
) -> Callable[[Params], float]:
    """BLEU of a model's own outputs, with its own decoder, against the raw references."""

    def measure(params: Params) -> float:
        found = functions.decode(params, make_pairs(rows()))

        def score() -> float:
            lines = [best_text(candidates, context.vocabulary) for candidates in found]
            return corpus_bleu(lines, [[row.target_text for row in rows()]], scoring)

        return context.processes.broadcast("valid BLEU", score)

    return measure


def _distilled_loss(
    functions: CompiledModel, rows: Callable[[], list[Row]], teacher: TrainedModel
) -> Callable[[Params], float]:
    """The loss on the teacher's translations, which are made once."""

    @functools.cache
    def pairs() -> Pairs:
        return outputs_as_targets(rows(), teacher.decode(make_pairs(rows())))

    def measure(params: Params) -> float:
        return functions.metrics(params, pairs())["loss"].value()

    return measure
