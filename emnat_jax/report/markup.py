"""Pieces of HTML that every page is built of. All text is escaped here."""

import html
from collections.abc import Iterable, Sequence

from emnat_jax.report.style import STYLE

# p value under which a difference, better or worse, is called one; sacrebleu's is one-sided, so that 5% of nothing are.
SURE = 0.025


def document(title: str, body: str) -> str:
    """A whole page; it needs nothing from elsewhere, not even an icon."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body><main><h1>{text(title)}</h1>"
        f"{body}</main></body></html>"
    )


def cards(shown: Iterable[tuple[str, str, str]]) -> str:
    """Boxes of (name, value, note), side by side where there is room."""
    boxes = (
        f'<div class="card"><h3>{text(name)}</h3><p class="big">{text(value)}</p><p>{text(note)}</p></div>'
        for name, value, note in shown
    )
    return f'<div class="cards">{"".join(boxes)}</div>'


def figures(drawn: Iterable[tuple[str, str]]) -> str:
    """Charts of (caption, SVG)."""
    boxes = (f"<figure><figcaption>{text(name)}</figcaption>{chart}</figure>" for name, chart in drawn)
    return f'<div class="figures">{"".join(boxes)}</div>'


def table(head: Sequence[str], lines: Iterable[Sequence]) -> str:
    """A table that scrolls by itself where the page is narrow."""
    top = "".join(f"<th>{text(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def columns_of_text(lines: Sequence[Sequence[str]]) -> list[str]:
    """The same as plain text, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]


def text(value) -> str:
    """Escaped, for the inside of an element or of an attribute."""
    return html.escape(str(value))
