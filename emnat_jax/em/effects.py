"""Whether the rounds helped: each system of the last round against that of round 0."""

from collections.abc import Mapping

from emnat_jax.config import Scoring
from emnat_jax.evaluation.bleu import References, paired_significance
from emnat_jax.report.record import Effect

Outputs = Mapping[str, Mapping[str, list[str]]]  # lines by split and system


def effects_of_rounds(
    outputs: Mapping[int, Outputs], references: Mapping[str, References], scoring: Scoring = Scoring()
) -> tuple[Effect, ...]:
    """BLEU before and after with paired bootstrap, by split and system; `outputs` are by round.

    Nothing without a later round.
    """
    if len(outputs) < 2:
        return ()
    first, *_, last = sorted(outputs)
    effects = []
    for split, lines in references.items():
        for system, after in outputs[last][split].items():
            before = outputs[first][split][system]
            found = paired_significance(after, before, lines, scoring, names=("BLEU",))["BLEU"]
            effects.append(
                Effect(system, split, last, found.baseline, found.system, found.p_value, found.signature)
            )
    return tuple(effects)
