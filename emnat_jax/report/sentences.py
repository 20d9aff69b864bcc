"""Example sentences on a page: what each model made of them, and between what the student chose."""

import re
from collections.abc import Sequence

from emnat_jax.config import UNSPACED
from emnat_jax.report.markup import text
from emnat_jax.report.record import ComparedSample, Evaluation, Position, RoundOutputs, Sample

ABOUT = (
    "<p><mark>Marked</mark>: a {unit} equal to its neighbour. <u>Underlined</u>: a {unit} of the student "
    "that stands neither in the reference nor in any teacher's output here. A teacher whose output did not "
    "change is shown once. Below each: the likeliest tokens (in percent) at every position of the last "
    "student's single pass. Its output need not take the likeliest at each: it is the best sequence as a "
    "whole.</p>"
)


# Words and the spaces between them; characters and, whole, what is Latin among them.
_PARTS = {"word": re.compile(r"\s+|\S+"), "character": re.compile(r"\s+|[A-Za-z0-9]+|\S")}


def sentences(samples: Sequence[ComparedSample], tokenizer: str = "13a") -> str:
    """Test sentences by length with every round's outputs; BLEU's tokenizer says what their words are."""
    unit = "character" if tokenizer in UNSPACED else "word"
    blocks = [f"{_sample(sample, unit)}{_alternatives(sample.rounds[-1].alternatives)}" for sample in samples]
    return f"<h2>Sentences</h2>{ABOUT.format(unit=unit)}{''.join(blocks)}"


def _sample(sample: ComparedSample, unit: str) -> str:
    teachers: dict[str, int] = {}
    for found in sample.rounds:
        teachers.setdefault(found.teacher, found.round)
    known = {_bare(word) for line in (sample.reference, *teachers) for word in _PARTS[unit].findall(line)}
    lines = [_line("source", text(sample.source)), _line("reference", text(sample.reference))]
    lines += [_line(f"teacher, round {index}", _marked(line, None, unit)) for line, index in teachers.items()]
    lines += [
        _line(f"student, round {found.round}", _marked(found.student, known, unit)) for found in sample.rounds
    ]
    if (rescored := sample.rounds[-1].student_rescored) is not None:
        lines.append(_line("the last student, rescored", _marked(rescored, known, unit)))
    caption = f"<caption>{text(sample.tokens)} tokens</caption>"
    return f'<table class="sample">{caption}{"".join(lines)}</table>'


def _alternatives(positions: Sequence[Position]) -> str:
    """The student's own output along the positions of one pass, and the likely tokens at each."""
    if not positions:
        return ""
    places = "".join(f"<th>{found.position + 1}</th>" for found in positions)
    taken = "".join(_option(found.taken, found.probability, "taken") for found in positions)
    rows = [f"<tr><th>taken</th>{taken}</tr>"]
    for rank in range(len(positions[0].likely)):
        cells = "".join(_option(*found.likely[rank]) for found in positions)
        rows.append(f"<tr><th>likely, {rank + 1}</th>{cells}</tr>")
    return (
        '<details class="choice"><summary>What the student chose between, position by position</summary>'
        f'<div class="wide"><table><thead><tr><th>position</th>{places}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _option(piece: str, probability: float, kind: str = "") -> str:
    """A token with its probability in percent, the darker the likelier."""
    shade = f"background:rgba(11,98,164,{0.45 * probability:.2f})"
    return f'<td class="{kind}" style="{shade}">{text(piece)}<small>{100 * probability:.0f}</small></td>'


def _line(name: str, content: str) -> str:
    return f"<tr><th>{text(name)}</th><td>{content}</td></tr>"


def _marked(sentence: str, known: set[str] | None, unit: str) -> str:
    words, last = [], None
    for word in _PARTS[unit].findall(sentence):
        shown = text(word)
        if word.isspace():
            words.append(shown)
            continue
        if known is not None and _bare(word) not in known:
            shown = f"<u>{shown}</u>"
        words.append(f"<mark>{shown}</mark>" if _bare(word) == last else shown)
        last = _bare(word)
    return "".join(words)


def _bare(word: str) -> str:
    """Without the punctuation around it and in small letters; punctuation alone stays."""
    return word.strip(".,;:!?\"'()").lower() or word


def compare_samples(rounds: Sequence[Evaluation]) -> tuple[ComparedSample, ...]:
    """The sample sentences that all rounds have, in the order of the first."""
    by_source = [{sample.source: sample for sample in found.samples} for found in rounds]
    return tuple(
        ComparedSample(
            first.tokens,
            source,
            first.reference,
            tuple(
                _outputs(found.round, samples[source])
                for found, samples in zip(rounds, by_source, strict=True)
            ),
        )
        for source, first in (by_source[0] if by_source else {}).items()
        if all(source in samples for samples in by_source)
    )


def _outputs(index: int, sample: Sample) -> RoundOutputs:
    return RoundOutputs(index, sample.teacher, sample.student, sample.student_rescored, sample.alternatives)
