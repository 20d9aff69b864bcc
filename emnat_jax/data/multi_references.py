"""Test sentences with several references each, as one tab-separated file."""

from emnat_jax.data.corpora import read_text_lines
from emnat_jax.errors import UserError, require


def read_multi_references(path) -> tuple[list[str], list[list[str | None]]]:
    """(sources, reference sets) of lines "source, TAB, its references, TAB between them", zipped or not, or of a stream.

    Set k holds the k-th reference of every line, None where a line has fewer; the first set is whole. UserError,
    with the line, where a part is missing or empty.
    """
    where = "standard input" if hasattr(path, "readline") else path
    lines = [line.split("\t") for line in read_text_lines(path)]
    require(bool(lines), f"{where} is empty; give lines of a source, TAB and its references.")
    for number, line in enumerate(lines, 1):
        if len(line) < 2 or not all(part.strip() for part in line):
            raise UserError(
                f"{where}:{number}: give a source, TAB and at least one reference, none of them empty."
            )
    most = max(map(len, lines))
    sets = [[line[place] if place < len(line) else None for line in lines] for place in range(1, most)]
    return [line[0] for line in lines], sets
