"""A corpus becomes a vocabulary and three data sets of records.

The corpus is read twice, line by line: once to check it and to train the vocabulary, once to encode it.
Every file but for the date in a manifest is a function of the corpus and the options alone, and a manifest is
written last, so that a run that was killed anywhere and started again ends with the same bytes.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import (
    Manifest,
    Provenance,
    ShardDescription,
    describe_shard,
    finish_dataset,
    is_finished,
    load_manifest,
)
from emnat_jax.artifacts.records import Row, shard_name, write_shard
from emnat_jax.artifacts.shards import delete_shards, forget_plan, keep_shards_of, read_or_make
from emnat_jax.config import TASKS, Config, DataConfig
from emnat_jax.config.convert import differences
from emnat_jax.data.corpora import SPLITS, Corpus, open_split
from emnat_jax.data.overlap import Overlap
from emnat_jax.data.text import TextPair, is_blank
from emnat_jax.data.vocab import CONTROL, Vocabulary, load_vocabulary, vocabulary_made_from
from emnat_jax.data.vocab_training import train_vocabulary
from emnat_jax.errors import UserError
from emnat_jax.runtime.progress import Log
from emnat_jax.types import EOS

_REASONS = ("empty_line", "control_character", "over_long")
_EOS = np.array([EOS], np.int32)


@dataclasses.dataclass
class _Scan:
    """What the first pass learns about a split."""

    lines: int = 0
    sha256: str = ""  # over the raw text of all pairs
    # Rows that cannot be used in training, by reason.
    dropped: collections.Counter = dataclasses.field(default_factory=collections.Counter)


def prepare(config: Config, workdir: epath.PathLike, log: Log) -> dict[str, Any]:
    """Makes WORKDIR/vocab and WORKDIR/data/{train,valid,test}; returns what is in them.

    Training rows that are empty, hold control characters or are longer than the last bucket are left out
    and counted. Valid and test rows are all kept, so that references stay whole; what the model is given of
    them may be cut. Finished splits are verified and skipped. Raises UserError for a corpus that cannot
    be used, and for a workdir that was prepared with other options.
    """
    workdir = epath.Path(workdir)
    missing = [split for split in SPLITS if not is_finished(workdir / paths.split(split))]
    if missing:
        _make_missing(config, workdir, missing, log)
    else:
        log("prepare: finished before")
    vocabulary = load_vocabulary(workdir / paths.VOCABULARY)
    manifests = {split: _checked(workdir, split, config, vocabulary) for split in SPLITS}
    summary = {split: _split_summary(manifest) for split, manifest in manifests.items()}
    return {"vocabulary": {"size": vocabulary.size, "fingerprint": vocabulary.fingerprint}, **summary}


def _make_missing(config: Config, workdir: epath.Path, missing: list[str], log: Log) -> None:
    corpora = {split: open_split(config.data, split, config.seed) for split in SPLITS}
    # The small splits first: a mistake in them shows before the long work.
    scans = {split: _scan(corpora[split]) for split in reversed(SPLITS)}
    for split in SPLITS:
        log(f"prepare: {split} has {scans[split].lines} lines")
    _require_rows(scans["train"], scans["train"].lines - scans["train"].dropped.total(), 0)
    vocabulary = _make_vocabulary(config, workdir, corpora["train"], scans["train"], log)
    for split in missing:
        if split == "train":
            _make_train(config, workdir, corpora, scans[split], vocabulary)
        else:
            _make_eval(config, workdir, corpora[split], scans[split], vocabulary)
        log(f"prepare: {split} is finished")


def _scan(corpus: Corpus) -> _Scan:
    scan, digest = _Scan(), hashlib.sha256()
    for pair in corpus:
        digest.update(f"{pair.source}\n{pair.target}\n".encode())
        if reason := _unusable(pair):
            scan.dropped[reason] += 1
        scan.lines += 1
    scan.sha256 = digest.hexdigest()
    return scan


def _unusable(pair: TextPair) -> str | None:
    """Why a pair is not for training, whatever its length; None if it is. A tab counts as a space."""
    sides = (pair.source, pair.target)
    if any(CONTROL.search(side.replace("\t", " ")) for side in sides):
        return "control_character"
    if any(map(is_blank, sides)):
        return "empty_line"
    return None


def _require_rows(scan: _Scan, rows: int, over_long: int) -> None:
    if rows <= 0:
        dropped = {**scan.dropped, "over_long": over_long}
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count)
        raise UserError(
            f"no training row is left of {scan.lines} lines (dropped: {reasons or 'none'}); "
            "mend the corpus, or give wider data.buckets if the lines are too long."
        )


def _make_vocabulary(config: Config, workdir: epath.Path, train: Corpus, scan: _Scan, log: Log) -> Vocabulary:
    """The vocabulary of the usable train lines; the one in the workdir if it was made of the same."""
    made_from = {"corpus": scan.sha256, "options": dataclasses.asdict(config.vocab)}
    if vocabulary_made_from(workdir / paths.VOCABULARY) == made_from:
        return load_vocabulary(workdir / paths.VOCABULARY)
    finished = [split for split in SPLITS if is_finished(workdir / paths.split(split))]
    if finished:
        raise UserError(
            f"{workdir}: data/{finished[0]} is finished, but the train corpus or the options under vocab "
            "have changed since; go back to what they were, or use a new workdir."
        )
    usable = (pair for pair in train if not _unusable(pair))
    vocabulary = train_vocabulary(
        (side for pair in usable for side in (pair.source, pair.target)), config.vocab
    )
    if vocabulary.size < config.vocab.size:
        log(f"prepare: the text supports {vocabulary.size} pieces, not vocab.size={config.vocab.size}")
    vocabulary.save(workdir / paths.VOCABULARY, made_from)
    return vocabulary


def _make_train(
    config: Config, workdir: epath.Path, corpora: dict[str, Corpus], scan: _Scan, vocabulary: Vocabulary
) -> None:
    directory, data = workdir / paths.split("train"), config.data
    options, fingerprints = _options(config), _fingerprints(scan, vocabulary)
    keep_shards_of(directory, {"options": options, "fingerprints": fingerprints})
    overlap = Overlap({split: corpora[split] for split in SPLITS if split != "train"})
    rows_out, shard_count = 0, _shard_count(scan, data)
    for index, chunk in enumerate(_chunks(corpora["train"], data.rows_per_shard)):
        make = functools.partial(_train_rows, chunk, vocabulary, data.max_length)
        rows = read_or_make(directory / shard_name(index, shard_count), make)
        overlap.see((row.source_text, row.target_text) for row in rows)
        rows_out += len(rows)
    over_long = scan.lines - scan.dropped.total() - rows_out
    _require_rows(scan, rows_out, over_long)
    finish_dataset(
        directory,
        Provenance("bitext", fingerprints, {"prepare": options, "overlap": overlap.report()}, config.seed),
        shards=_described(directory, shard_count),
        rows_in=scan.lines,
        dropped={**dict.fromkeys(_REASONS, 0), **scan.dropped, "over_long": over_long},
    )


def _make_eval(
    config: Config, workdir: epath.Path, corpus: Corpus, scan: _Scan, vocabulary: Vocabulary
) -> None:
    directory, data = workdir / paths.split(corpus.split), config.data
    delete_shards(directory)
    altered = collections.Counter(control_character=0, over_long=0)
    shard_count = _shard_count(scan, data)
    for index, chunk in enumerate(_chunks(corpus, data.rows_per_shard)):
        rows = _encode(chunk, vocabulary)
        altered["control_character"] += sum(_unusable(pair) == "control_character" for pair in chunk)
        altered["over_long"] += sum(_length(row) > data.max_length for row in rows)
        write_shard(directory / shard_name(index, shard_count), (_cut(row, data.max_length) for row in rows))
    options = {"prepare": _options(config), "altered": dict(altered)}
    finish_dataset(
        directory,
        Provenance("bitext", _fingerprints(scan, vocabulary), options, config.seed),
        shards=_described(directory, shard_count),
        rows_in=scan.lines,
        dropped={},
    )


def _described(directory: epath.Path, count: int) -> list[ShardDescription]:
    return [describe_shard(directory / shard_name(index, count)) for index in range(count)]


def _train_rows(pairs: list[TextPair], vocabulary: Vocabulary, max_length: int) -> list[Row]:
    rows = _encode([pair for pair in pairs if not _unusable(pair)], vocabulary)
    return [row for row in rows if _length(row) <= max_length]


def _encode(pairs: list[TextPair], vocabulary: Vocabulary) -> list[Row]:
    sources, targets = (
        vocabulary.encode(["" if is_blank(text) else text for text in side])
        for side in ([pair.source for pair in pairs], [pair.target for pair in pairs])
    )
    return [
        Row(pair.line, _with_eos(source), [_with_eos(target)], pair.source, pair.target)
        for pair, source, target in zip(pairs, sources, targets, strict=True)
    ]


def _with_eos(tokens: np.ndarray) -> np.ndarray:
    return np.concatenate((tokens, _EOS))


def _length(row: Row) -> int:
    """Tokens of the longer side."""
    return max(len(row.source), len(row.targets[0]))


def _cut(row: Row, max_length: int) -> Row:
    """The row with at most max_length tokens a side, the last of them EOS; its texts stay whole."""
    cut = (
        tokens if len(tokens) <= max_length else _with_eos(tokens[: max_length - 1])
        for tokens in (row.source, row.targets[0])
    )
    source, target = cut
    return dataclasses.replace(row, source=source, targets=[target])


def _chunks(corpus: Corpus, size: int) -> Iterator[list[TextPair]]:
    pairs = iter(corpus)
    while chunk := list(itertools.islice(pairs, size)):
        yield chunk


def _shard_count(scan: _Scan, data: DataConfig) -> int:
    return -(-scan.lines // data.rows_per_shard)


def _fingerprints(scan: _Scan, vocabulary: Vocabulary) -> dict[str, str]:
    return {"vocabulary": vocabulary.fingerprint, "corpus": scan.sha256}


def _options(config: Config) -> dict[str, Any]:
    """The options that the records depend on, beside the vocabulary; paths may change."""
    data = config.data
    names = (
        "kind",
        "source_language",
        "target_language",
        "tfds",
        "train_rows",
        "max_length",
        "rows_per_shard",
    )
    options = {name: getattr(data, name) for name in names}
    if data.task_options is not None:
        options[data.kind] = dataclasses.asdict(data.task_options)
    if TASKS[data.kind].is_seeded:
        options["seed"] = config.seed
    return options


def _checked(workdir: epath.Path, split: str, config: Config, vocabulary: Vocabulary) -> Manifest:
    """The manifest of a finished split; UserError if it is damaged or made with other options."""
    directory = workdir / paths.split(split)
    manifest = load_manifest(directory, expect={"vocabulary": vocabulary.fingerprint})
    old, new = manifest.options["prepare"], _options(config)
    if changed := differences(old, new):
        values = ", ".join(f"{name} was {_leaf(old, name)} and is {_leaf(new, name)}" for name in changed)
        raise UserError(f"{directory} was prepared with other options ({values}); use a new workdir.")
    forget_plan(directory)
    return manifest


def _leaf(values: dict[str, Any], name: str) -> Any:
    """The value at a dotted name in nested dicts; None where there is none."""
    group, _, rest = name.partition(".")
    return _leaf(values.get(group) or {}, rest) if rest else values.get(name)


def _split_summary(manifest: Manifest) -> dict[str, Any]:
    counts = {"rows_in": manifest.rows_in, "rows_out": manifest.rows_out, "dropped": manifest.dropped}
    found = {name: value for name, value in manifest.options.items() if name != "prepare"}
    return {**counts, **found, "content_hash": manifest.content_hash}
