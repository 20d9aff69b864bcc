"""The records of the sets: of those to learn from each process makes its chunks, the first one the others."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.dataset import Provenance, describe_shard, finish_dataset
from emnat_jax.artifacts.records import shard_name, write_shard
from emnat_jax.artifacts.shards import UnfinishedSet, delete_shards, keep_shards_of
from emnat_jax.config import TASKS, Config, DataConfig
from emnat_jax.data.corpora import MONO, Corpus
from emnat_jax.data.encode import PieceCounts, cut, encode, length_of, train_rows
from emnat_jax.data.overlap import Overlap, joined_report
from emnat_jax.data.readers import Readers
from emnat_jax.data.scan import Scan, note, tell, unusable
from emnat_jax.data.text import TextPair
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.errors import UserError
from emnat_jax.runtime.progress import Log

_KINDS = {"train": "bitext", "valid": "bitext", "test": "bitext", MONO: "mono"}
_REASONS = ("empty_line", "control_character", "over_long")


@dataclasses.dataclass(frozen=True)
class Work:
    """What the records of all sets are made from."""

    config: Config
    workdir: epath.Path
    corpora: dict[str, Corpus]  # empty where this process has no files
    scans: dict[str, Scan]
    readers: Readers
    log: Log


def require_rows(found: Scan, rows: int, over_long: int) -> None:
    """UserError, with the reasons, where none of the lines is left to learn from."""
    if rows <= 0:
        dropped = {**found.dropped, "over_long": over_long}
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count)
        raise UserError(
            f"no training row is left of {found.lines} lines (dropped: {reasons or 'none'}); "
            "mend the corpus, or give wider data.buckets if the lines are too long."
        )


def make_train_set(work: Work, name: str, vocabulary: Vocabulary) -> None:
    """The records to learn from: the train split, or sources without translations."""
    directory, found = work.workdir / paths.split(name), work.scans[name]
    fingerprints = _fingerprints(found, vocabulary)
    plan = {"options": record_options(work.config), "fingerprints": fingerprints}
    work.readers.processes.broadcast(f"prepare: plan of {name}", lambda: _begin(directory, plan))
    unfinished = UnfinishedSet(directory, plan)
    parts = work.readers.gather(
        f"prepare: {name}", lambda: _make_part(work, name, vocabulary, unfinished).as_json()
    )
    work.readers.processes.broadcast(
        f"prepare: manifest of {name}", lambda: _finish_train_set(work, name, fingerprints, parts)
    )


def _begin(directory: epath.Path, plan: dict[str, Any]) -> None:
    keep_shards_of(directory, plan)


@dataclasses.dataclass
class _Part:
    """What one process says of its records."""

    rows: int = 0
    over_long: dict[str, list[int]] = dataclasses.field(default_factory=dict)  # the first few lines
    shards: list[Any] = dataclasses.field(default_factory=list)  # descriptions
    pieces: dict[str, int] = dataclasses.field(default_factory=dict)
    overlap: dict[str, Any] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _make_part(work: Work, name: str, vocabulary: Vocabulary, unfinished: UnfinishedSet) -> _Part:
    """Writes the records of this process's chunks, one chunk after another."""
    data, found = work.config.data, work.scans[name]
    first_row = _first_row(work, name)
    overlap = Overlap({split: work.corpora[split] for split in data.splits if split != "train"})
    part, pieces, own = _Part(), PieceCounts(vocabulary), []
    shards = _shard_names(found, data)
    for index, chunk in work.corpora[name].chunks(data.rows_per_shard, work.readers):
        usable = [pair for pair in chunk if found.reason(pair) is None]
        make = functools.partial(train_rows, usable, vocabulary, data.max_length, first_row)
        rows = unfinished.read_or_make(shards[index], make)
        own.append(shards[index])
        overlap.see((row.source_text, row.target_text) for row in rows)
        pieces.see(rows)
        _note_over_long(part, usable, {row.row - first_row for row in rows})
        part.rows += len(rows)
    part.shards = list(map(unfinished.describe, own))
    part.pieces, part.overlap = pieces.counts(), overlap.seen_rows()
    return part


def _first_row(work: Work, name: str) -> int:
    """No row of one set is one of the other."""
    return work.scans["train"].lines if name == MONO else 0


def _note_over_long(part: _Part, usable: Sequence[TextPair], kept: set[int]) -> None:
    for pair in usable if len(kept) < len(usable) else ():
        if pair.line not in kept:
            note(part.over_long, "over_long", pair.line)


def _finish_train_set(
    work: Work, name: str, fingerprints: dict[str, str], parts: Sequence[Mapping[str, Any]]
) -> None:
    """Writes the manifest, and says what is left out."""
    found, rows_out = work.scans[name], sum(part["rows"] for part in parts)
    dropped = {**dict.fromkeys(_REASONS, 0), **found.dropped, "over_long": found.usable - rows_out}
    if name == "train":
        require_rows(found, rows_out, dropped["over_long"])
    for line in sorted(itertools.chain(*(part["over_long"].get("over_long", ()) for part in parts))):
        note(found.first, "over_long", line)
    pieces: collections.Counter[str] = collections.Counter()
    for part in parts:
        pieces.update(part["pieces"])
    overlap = joined_report([part["overlap"] for part in parts])
    about = {"prepare": record_options(work.config), "split": name, "overlap": overlap}
    tell(work.log, work.corpora[name], found, dropped, "are left out")
    finish_dataset(
        work.workdir / paths.split(name),
        Provenance(_KINDS[name], fingerprints, about | _about(found, dict(pieces)), work.config.seed),
        shards=sorted(itertools.chain(*(part["shards"] for part in parts)), key=lambda shard: shard["name"]),
        rows_in=found.lines,
        dropped=dropped,
    )


def make_eval_set(work: Work, name: str, vocabulary: Vocabulary) -> None:
    """The records of a split that is translated and scored, on the first process."""
    work.readers.processes.broadcast(f"prepare: {name}", lambda: _make_eval_set(work, name, vocabulary))


def _make_eval_set(work: Work, name: str, vocabulary: Vocabulary) -> None:
    directory, data = work.workdir / paths.split(name), work.config.data
    found, corpus, pieces = work.scans[name], work.corpora[name], PieceCounts(vocabulary)
    delete_shards(directory)
    altered = collections.Counter(control_character=0, over_long=0)
    shards = _shard_names(found, data)
    for index, chunk in corpus.chunks(data.rows_per_shard, Readers()):  # all of them
        rows = encode(chunk, vocabulary)
        pieces.see(rows)
        altered["control_character"] += sum(unusable(pair) == "control_character" for pair in chunk)
        for row in rows:
            if length_of(row) > data.max_length:
                altered["over_long"] += 1
                note(found.first, "over_long", row.row)
        write_shard(directory / shards[index], (cut(row, data.max_length) for row in rows))
    about = {"prepare": record_options(work.config), "split": name, "altered": dict(altered)}
    about |= _about(found, pieces.counts())
    tell(work.log, corpus, found, altered, "are changed for the model")
    finish_dataset(
        directory,
        Provenance(_KINDS[name], _fingerprints(found, vocabulary), about, work.config.seed),
        shards=[describe_shard(directory / shard) for shard in shards],
        rows_in=found.lines,
        dropped={},
    )


def _about(found: Scan, pieces: dict[str, int]) -> dict[str, Any]:
    """What a manifest says of the text."""
    return {"lines_there": found.there, "respaced": found.respaced, "pieces": pieces}


def _shard_names(found: Scan, data: DataConfig) -> list[str]:
    count = -(-found.lines // data.rows_per_shard)
    return [shard_name(index, count) for index in range(count)]


def _fingerprints(found: Scan, vocabulary: Vocabulary) -> dict[str, str]:
    return {"vocabulary": vocabulary.fingerprint, "corpus": found.sha256}


def record_options(config: Config) -> dict[str, Any]:
    """The options that the records depend on, beside the vocabulary; paths may change."""
    data = config.data
    names = (
        "kind",
        "source_language",
        "target_language",
        "tfds",
        "max_length",
        "rows_per_shard",
    )
    options = {name: getattr(data, name) for name in names} | {"train_rows": data.first_lines}
    if data.holds_out_valid:
        options["valid_rows"] = data.valid_rows or "chosen"
    if data.task_options is not None:
        options[data.kind] = dataclasses.asdict(data.task_options)
    if TASKS[data.kind].is_seeded:
        options["seed"] = config.seed
    return options
