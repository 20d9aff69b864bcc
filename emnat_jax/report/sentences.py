"""Example sentences on a page: what each model made of them, and between what the student chose."""

from emnat_jax.report.markup import text


def sentences(samples: list[dict]) -> str:
    """Test sentences by length with every round's outputs."""
    blocks = []
    for item in samples:
        teachers: dict[str, int] = {}
        for found in item["rounds"]:
            teachers.setdefault(found["teacher"], found["round"])
        known = {_bare(word) for line in (item["reference"], *teachers) for word in line.split()}
        lines = [_line("source", text(item["source"])), _line("reference", text(item["reference"]))]
        lines += [_line(f"teacher, round {index}", _marked(line, None)) for line, index in teachers.items()]
        lines += [
            _line(f"student, round {found['round']}", _marked(found["student"], known))
            for found in item["rounds"]
        ]
        if "student_rescored" in item["rounds"][-1]:
            lines.append(_line("the last, rescored", _marked(item["rounds"][-1]["student_rescored"], known)))
        blocks.append(
            f'<table class="sample"><caption>{text(item["words"])} words</caption>{"".join(lines)}</table>'
            + _alternatives(item["rounds"][-1].get("alternatives", []))
        )
    about = (
        "<p><mark>Marked</mark>: a word equal to its neighbour. <u>Underlined</u>: a word of the student that neither the "
        "reference nor any teacher here has. A teacher whose output did not change is shown once. Below each: the likely tokens "
        "(per cent) at the positions of the last student's single pass; its path need not take the likeliest, so that "
        "neighbours agree.</p>"
    )
    return f"<h2>Sentences</h2>{about}{''.join(blocks)}"


def _alternatives(positions: list[dict]) -> str:
    """The student's own output along the positions of one pass, and the likely tokens at each."""
    if not positions:
        return ""
    places = "".join(f"<th>{found['position'] + 1}</th>" for found in positions)
    taken = "".join(_option(found["taken"], found["probability"], "taken") for found in positions)
    rows = [f"<tr><th>taken</th>{taken}</tr>"]
    for rank in range(len(positions[0]["likely"])):
        cells = "".join(_option(*found["likely"][rank]) for found in positions)
        rows.append(f"<tr><th>likely, {rank + 1}</th>{cells}</tr>")
    return (
        '<details class="choice"><summary>What the student chose between, position by position</summary><div class="wide"><table>'
        f"<thead><tr><th>position</th>{places}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _option(piece: str, probability: float, kind: str = "") -> str:
    """A token with its probability in per cent, the darker the likelier."""
    shade = f"background:rgba(11,98,164,{0.45 * probability:.2f})"
    return f'<td class="{kind}" style="{shade}">{text(piece)}<small>{100 * probability:.0f}</small></td>'


def _line(name: str, content: str) -> str:
    return f"<tr><th>{text(name)}</th><td>{content}</td></tr>"


def _marked(sentence: str, known: set[str] | None) -> str:
    words, last = [], None
    for word in sentence.split():
        shown = text(word)
        if known is not None and _bare(word) not in known:
            shown = f"<u>{shown}</u>"
        words.append(f"<mark>{shown}</mark>" if _bare(word) == last else shown)
        last = _bare(word)
    return " ".join(words)


def _bare(word: str) -> str:
    """Without the punctuation around it and in small letters; punctuation alone stays."""
    return word.strip(".,;:!?\"'()").lower() or word
