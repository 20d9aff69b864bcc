"""Pieces of HTML that every page is built of, and how they look. All text is escaped here."""

import html
from collections.abc import Iterable, Sequence

# p value below which a difference is called one. It is one-sided, and differences count both ways: of systems
# that are equally good 5% are called different.
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


def text(value: object) -> str:
    """Escaped, for the inside of an element or of an attribute."""
    return html.escape(str(value))


STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.6em; margin: .3em 0 .6em; } h2 { margin: 1.6em 0 .4em; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 220px), 1fr)); gap: 12px; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.card h3 { margin: 0; font-size: .9em; font-weight: 600; opacity: .8; }
.card p { margin: .2em 0; font-size: .9em; } .card .big { font-size: 1.35em; font-weight: 650; }
.note { font-size: .85em; opacity: .8; overflow-wrap: anywhere; }
.figures { display: grid; gap: 20px; }
.figures { grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); }
.figures + .wide { margin-top: 14px; }
figure { margin: 0; } figcaption { font-weight: 600; font-size: .95em; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; }
.grid { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: .2em 0; font-size: .85em; }
.legend i { display: inline-block; width: 12px; height: 12px; }
.legend i { border-radius: 3px; margin-right: 6px; vertical-align: middle; }
.lead { font-size: 1.1em; max-width: 60em; }
.wide { overflow-x: auto;
  background: linear-gradient(to left, Canvas 40%, transparent) right / 48px 100% no-repeat local,
  linear-gradient(to left, #8887, transparent) right / 16px 100% no-repeat scroll; }
.wide td:nth-child(2) { min-width: 7em; } table { border-collapse: collapse; font-size: .9em; width: 100%; }
th, td { text-align: left; padding: 4px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { background: var(--soft); }
.sample { margin: 0 0 18px; table-layout: fixed; } .sample caption { text-align: left; opacity: .7; }
.sample th { width: 9.5em; font-weight: 500; } .sample td { overflow-wrap: anywhere; }
.choice { margin: -10px 0 18px; font-size: .9em; } .choice table { width: auto; }
.choice td { white-space: nowrap; text-align: center; }
.choice .taken { font-weight: 650; }  .choice small { display: block; opacity: .75; }
mark { background: #f6c344; color: #000; border-radius: 3px; } u { text-decoration: underline wavy #c4570a; }
pre { overflow-x: auto; background: var(--soft); padding: 10px; font-size: .8em; }
@media (min-width: 900px) { .cards { grid-template-columns: repeat(3, 1fr); } }
@media (max-width: 520px) {
  body { font-size: 15px; } .sample th { width: 6.5em; } th, td { padding: 4px 6px; }
}
"""
