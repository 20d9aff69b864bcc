"""Whether the rounds helped: the last student against its control, each system against that of round 0."""

from collections.abc import Iterator, Mapping

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
        for system, over, before, after in _compared(outputs[first][split], outputs[last][split]):
            found = paired_significance(after, before, lines, scoring, names=("BLEU",))["BLEU"]
            effects.append(
                Effect(
                    system, split, last, over, found.baseline, found.system, found.p_value, found.signature
                )
            )
    return tuple(effects)


def _compared(
    first: Mapping[str, list[str]], last: Mapping[str, list[str]]
) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """(system, over, the lines that it is compared with, its lines) of one split."""
    if "control" in last:
        yield "student", "control", last["control"], last["student"]
    for system in first:
        if system in last:
            yield system, "round_0", first[system], last[system]
