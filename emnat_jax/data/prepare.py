"""A corpus becomes a vocabulary and data sets of records.

The corpus is read twice, line by line: once to check it and to train the vocabulary, once to encode it.
Every file but for the date in a manifest is a function of the corpus and the options alone, and a manifest is
written last, so that a run that was killed anywhere and started again ends with the same bytes.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.dataset import Provenance, describe_shard, finish_dataset
from emnat_jax.artifacts.manifest import Manifest, is_finished, load_manifest
from emnat_jax.artifacts.records import shard_name, write_shard
from emnat_jax.artifacts.shards import delete_shards, forget_plan, keep_shards_of
from emnat_jax.config import TASKS, Config, DataConfig
from emnat_jax.config.convert import differences
from emnat_jax.data.corpora import MONO, Corpus, open_mono, open_split
from emnat_jax.data.encode import PieceCounts, cut, encode, length_of, train_rows
from emnat_jax.data.held_out import HeldOut
from emnat_jax.data.overlap import Overlap
from emnat_jax.data.scan import Scan, note, scan, tell, unusable
from emnat_jax.data.text import TextPair
from emnat_jax.data.vocab import Vocabulary, vocabulary_made_from
from emnat_jax.data.workdir_vocabulary import check_vocabulary, make_vocabulary
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.progress import Log

_KINDS = {"train": "bitext", "valid": "bitext", "test": "bitext", MONO: "mono"}
_REASONS = ("empty_line", "control_character", "over_long")


@dataclasses.dataclass(frozen=True)
class _Work:
    """What the records of all sets are made from."""

    config: Config
    workdir: epath.Path
    corpora: dict[str, Corpus]
    scans: dict[str, Scan]
    log: Log


def set_names(config: DataConfig) -> tuple[str, ...]:
    """The sets under WORKDIR/data: the splits, and the sources without translations where there are any."""
    return config.splits if config.mono_source is None else (*config.splits, MONO)


def prepare(config: Config, workdir: epath.PathLike, log: Log) -> dict[str, Any]:
    """Makes WORKDIR/vocab and WORKDIR/data/{train,valid,test,mono}; returns what is in them.

    Training rows that are empty, hold control characters or are longer than the last bucket are left out
    and counted. Valid and test rows are all kept, so that references stay whole; what the model is given of
    them may be cut. Without text for it the valid split is cut off the training text, and there is no test
    split. Finished sets are verified and skipped. Raises UserError for a corpus that cannot be used, and for
    a workdir that was prepared with other options.
    """
    workdir, names = epath.Path(workdir), set_names(config.data)
    missing = [name for name in names if not is_finished(workdir / paths.split(name))]
    is_lost = not missing and vocabulary_made_from(workdir / paths.VOCABULARY) is None
    if is_lost:
        log("prepare: the vocabulary is lost, and made again")
    if missing or is_lost:
        _make_missing(config, workdir, missing, log)
    else:
        log("prepare: finished before")
    vocabulary = check_vocabulary(workdir, config.vocab)
    manifests = {name: _checked(workdir, name, config, vocabulary) for name in names}
    summary = {name: _split_summary(manifest) for name, manifest in manifests.items()}
    return {"vocabulary": {"size": vocabulary.size, "fingerprint": vocabulary.fingerprint}, **summary}


def _make_missing(config: Config, workdir: epath.Path, missing: list[str], log: Log) -> None:
    work = _scanned(config, workdir, log)
    train = work.scans["train"]
    _require_rows(train, train.usable, 0)
    vocabulary = _vocabulary(work)
    for name in missing:
        make = _make_eval if name in ("valid", "test") else _make_train
        make(work, name, vocabulary)
        log(f"prepare: {name} is finished")


def _scanned(config: Config, workdir: epath.Path, log: Log) -> _Work:
    """Reads everything once, the small splits first: a mistake in them shows before the long work."""
    data = config.data
    named = [name for name in data.splits if name == "train" or data.has_text(name)]
    corpora = {name: open_split(data, name, config.seed) for name in named}
    if data.mono_source is not None:
        corpora[MONO] = open_mono(data)
    small_first = [name for name in ("test", "valid", "train", MONO) if name in corpora]
    held_out = {"train": HeldOut(data.valid_rows)} if data.holds_out_valid else {}
    scans = {name: scan(corpora[name], held_out.get(name)) for name in small_first}
    if held_out:
        corpora["valid"] = Corpus("valid", scans["train"].held_out_pairs)
        scans["valid"] = scan(corpora["valid"])
    for name in set_names(data):
        log(f"prepare: {name} has {_lines(scans[name])}")
    return _Work(config, workdir, corpora, scans, log)


def _lines(found: Scan) -> str:
    """How many lines, in words."""
    if found.lines < found.there:
        return f"{found.lines} of {found.there} lines (data.train_rows)"
    return f"{found.lines} lines"


def _require_rows(found: Scan, rows: int, over_long: int) -> None:
    if rows <= 0:
        dropped = {**found.dropped, "over_long": over_long}
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count)
        raise UserError(
            f"no training row is left of {found.lines} lines (dropped: {reasons or 'none'}); "
            "mend the corpus, or give wider data.buckets if the lines are too long."
        )


def _vocabulary(work: _Work) -> Vocabulary:
    """The vocabulary of the usable train lines, or the one that vocab.path names."""
    train, corpus = work.scans["train"], work.corpora["train"]
    text: dict[str, Any] = {"corpus": train.sha256}
    if train.held_out is not None:
        text["held_out"] = len(train.held_out.pairs)

    def lines() -> Iterator[str]:
        usable = (pair for pair in corpus if train.reason(pair) is None)
        return (side for pair in usable for side in (pair.source, pair.target))

    return make_vocabulary(work.workdir, work.config.vocab, text, lines, work.log)


def _make_train(work: _Work, name: str, vocabulary: Vocabulary) -> None:
    """The records to learn from: the train split, or sources without translations."""
    directory, data = work.workdir / paths.split(name), work.config.data
    found, corpus = work.scans[name], work.corpora[name]
    first_row = work.scans["train"].lines if name == MONO else 0  # no row of one set is one of the other
    options, fingerprints = _options(work.config), _fingerprints(found, vocabulary)
    unfinished = keep_shards_of(directory, {"options": options, "fingerprints": fingerprints})
    overlap = Overlap({split: work.corpora[split] for split in data.splits if split != "train"})
    rows_out, pieces = 0, PieceCounts(vocabulary)
    shards = _shard_names(found, data)
    for index, chunk in enumerate(_chunks(corpus, data.rows_per_shard)):
        usable = [pair for pair in chunk if found.reason(pair) is None]
        make = functools.partial(train_rows, usable, vocabulary, data.max_length, first_row)
        rows = unfinished.read_or_make(shards[index], make)
        overlap.see((row.source_text, row.target_text) for row in rows)
        pieces.see(rows)
        kept = {row.row - first_row for row in rows}
        for pair in usable if len(rows) < len(usable) else ():
            if pair.line not in kept:
                note(found.first, "over_long", pair.line)
        rows_out += len(rows)
    dropped = {**dict.fromkeys(_REASONS, 0), **found.dropped, "over_long": found.usable - rows_out}
    if name == "train":
        _require_rows(found, rows_out, dropped["over_long"])
    about = {"prepare": options, "split": name, "overlap": overlap.report(), **_about(found, pieces)}
    tell(work.log, corpus, found, dropped, "are left out")
    finish_dataset(
        directory,
        Provenance(_KINDS[name], fingerprints, about, work.config.seed),
        shards=list(map(unfinished.describe, shards)),
        rows_in=found.lines,
        dropped=dropped,
    )


def _make_eval(work: _Work, name: str, vocabulary: Vocabulary) -> None:
    """The records of a split that is translated and scored."""
    directory, data = work.workdir / paths.split(name), work.config.data
    found, corpus, pieces = work.scans[name], work.corpora[name], PieceCounts(vocabulary)
    delete_shards(directory)
    altered = collections.Counter(control_character=0, over_long=0)
    shards = _shard_names(found, data)
    for index, chunk in enumerate(_chunks(corpus, data.rows_per_shard)):
        rows = encode(chunk, vocabulary)
        pieces.see(rows)
        altered["control_character"] += sum(unusable(pair) == "control_character" for pair in chunk)
        for row in rows:
            if length_of(row) > data.max_length:
                altered["over_long"] += 1
                note(found.first, "over_long", row.row)
        write_shard(directory / shards[index], (cut(row, data.max_length) for row in rows))
    about = {"prepare": _options(work.config), "split": name, "altered": dict(altered)}
    about |= _about(found, pieces)
    tell(work.log, corpus, found, altered, "are changed for the model")
    finish_dataset(
        directory,
        Provenance(_KINDS[name], _fingerprints(found, vocabulary), about, work.config.seed),
        shards=[describe_shard(directory / shard) for shard in shards],
        rows_in=found.lines,
        dropped={},
    )


def _about(found: Scan, pieces: PieceCounts) -> dict[str, Any]:
    """What a manifest says of the text."""
    return {"lines_there": found.there, "respaced": found.respaced, "pieces": pieces.counts()}


def _chunks(corpus: Corpus, size: int) -> Iterator[list[TextPair]]:
    pairs = iter(corpus)
    while chunk := list(itertools.islice(pairs, size)):
        yield chunk


def _shard_names(found: Scan, data: DataConfig) -> list[str]:
    count = -(-found.lines // data.rows_per_shard)
    return [shard_name(index, count) for index in range(count)]


def _fingerprints(found: Scan, vocabulary: Vocabulary) -> dict[str, str]:
    return {"vocabulary": vocabulary.fingerprint, "corpus": found.sha256}


def _options(config: Config) -> dict[str, Any]:
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


def _checked(workdir: epath.Path, split: str, config: Config, vocabulary: Vocabulary) -> Manifest:
    """The manifest of a finished split; UserError if it is damaged or made with other options."""
    directory = workdir / paths.split(split)
    manifest = load_manifest(directory, expect={"vocabulary": vocabulary.fingerprint})
    require_split(workdir, split)
    old, new = manifest.options["prepare"], _options(config)
    if changed := differences(old, new):
        values = ", ".join(f"{name} was {_leaf(old, name)} and is {_leaf(new, name)}" for name in changed)
        raise UserError(f"{directory} was prepared with other options ({values}); use a new workdir.")
    forget_plan(directory)
    return manifest


def require_split(workdir: epath.PathLike, split: str) -> None:
    """UserError where the records of another split lie in the place of these."""
    directory = epath.Path(workdir) / paths.split(split)
    options = load_manifest(directory, verify_shards=False).options
    found = options.get("split", split)  # workdirs of before do not say it
    require(found == split, f"{directory} holds the records of {found}; put those of {split} back.")


def _leaf(values: dict[str, Any], name: str) -> Any:
    """The value at a dotted name in nested dicts; None where there is none."""
    group, _, rest = name.partition(".")
    return _leaf(values.get(group) or {}, rest) if rest else values.get(name)


def _split_summary(manifest: Manifest) -> dict[str, Any]:
    counts = {"rows_in": manifest.rows_in, "rows_out": manifest.rows_out, "dropped": manifest.dropped}
    found = {name: value for name, value in manifest.options.items() if name not in ("prepare", "split")}
    return {**counts, **found, "content_hash": manifest.content_hash}
