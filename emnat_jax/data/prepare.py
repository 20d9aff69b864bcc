"""A corpus becomes a vocabulary and data sets of records.

The corpus is read three times, line by line: to check it, to sample lines for the vocabulary, to encode it.
Every file but for the date in a manifest is a function of the corpus and the options alone, whatever the
number of processes, and a manifest is written last: a run that was killed anywhere and started again, over as
many processes or others, ends with the same bytes.
"""

from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import Manifest, is_finished, load_manifest
from emnat_jax.artifacts.shards import forget_plan
from emnat_jax.config import Config, DataConfig
from emnat_jax.config.convert import differences
from emnat_jax.data.corpora import MONO, Corpus, open_mono, open_split, with_ranges
from emnat_jax.data.held_out import HeldOut
from emnat_jax.data.readers import find_readers
from emnat_jax.data.record_sets import Work, make_eval_set, make_train_set, record_options, require_rows
from emnat_jax.data.scan import Reading, Scan, scan
from emnat_jax.data.stored_sets import load_verified
from emnat_jax.data.vocab import Vocabulary, load_vocabulary, vocabulary_made_from
from emnat_jax.data.vocab_sample import (
    collect_sample,
    forget_sample_parts,
    read_sample_parts,
    sample_part,
    write_sample_part,
)
from emnat_jax.data.workdir_vocabulary import check_vocabulary, make_vocabulary, needs_training
from emnat_jax.errors import UserError, require
from emnat_jax.runtime.processes import Processes
from emnat_jax.runtime.progress import Log


def set_names(config: DataConfig) -> tuple[str, ...]:
    """The sets under WORKDIR/data: the splits, and the sources without translations where there are any."""
    return config.splits if config.mono_source is None else (*config.splits, MONO)


def prepare(
    config: Config,
    workdir: epath.PathLike,
    log: Log,
    processes: Processes = Processes(),
    *,
    begun: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Makes WORKDIR/vocab and WORKDIR/data/{train,valid,test,mono}; returns what is in them.

    All processes call it together and share the work; of those without the files of the text nothing is
    asked. Training rows that are empty, hold control characters or are longer than the last bucket are left
    out and counted. Valid and test rows are all kept, so that references stay whole; what the model is given
    of them may be cut. Without text for it the valid split is cut off the training text, and there is no test
    split. Finished sets are verified and skipped. Raises UserError, on all processes, for a corpus that
    cannot be used, and for a workdir that was prepared with other options. The first process calls `begun`
    once the text has been read and there is a vocabulary.
    """
    workdir, names = epath.Path(workdir), set_names(config.data)
    missing, is_lost = processes.broadcast("prepare: what is there", lambda: _lacks(workdir, names))
    if is_lost:
        log("prepare: the vocabulary is lost, and made again")
    if missing or is_lost:
        work = _scanned(config, workdir, log, processes)
        vocabulary = _vocabulary(work)
        processes.broadcast("prepare: begun", begun)
        _make_missing(work, missing, vocabulary)
    else:
        log("prepare: finished before")
    vocabulary = _checked_vocabulary(workdir, config, processes)
    manifests = {name: _checked(workdir, name, config, vocabulary, processes) for name in names}
    summary = {name: _split_summary(manifest) for name, manifest in manifests.items()}
    return {"vocabulary": {"size": vocabulary.size, "fingerprint": vocabulary.fingerprint}, **summary}


def _lacks(workdir: epath.Path, names: tuple[str, ...]) -> tuple[list[str], bool]:
    """The sets that are not finished, and whether of finished ones the vocabulary is lost."""
    missing = [name for name in names if not is_finished(workdir / paths.split(name))]
    return missing, not missing and vocabulary_made_from(workdir / paths.VOCABULARY) is None


def _make_missing(work: Work, missing: list[str], vocabulary: Vocabulary) -> None:
    for name in missing:
        make = make_eval_set if name in ("valid", "test") else make_train_set
        make(work, name, vocabulary)
        work.log(f"prepare: {name} is finished")


def _scanned(config: Config, workdir: epath.Path, log: Log, processes: Processes) -> Work:
    """Reads everything once, the small splits first: a mistake in them shows before the long work."""
    data, corpora = config.data, dict[str, Corpus]()
    readers = find_readers(processes, lambda: corpora.update(_open(config)))
    if readers.count < processes.count:
        log(f"prepare: {readers.count} of {processes.count} processes have the text, and do the work")
    named = [name for name in ("test", "valid", "train") if _has_text(data, name)]
    small_first = named if data.mono_source is None else [*named, MONO]
    corpora = with_ranges(corpora, small_first, data, readers)
    held_out = {"train": HeldOut(data.valid_rows)} if data.holds_out_valid else {}
    reading = Reading(readers, data.rows_per_shard)
    scans = {name: scan(corpora.get(name), name, reading, held_out.get(name)) for name in small_first}
    if held_out:
        corpora["valid"] = Corpus("valid", scans["train"].held_out_pairs)
        scans["valid"] = scan(corpora["valid"], "valid")
    for name in set_names(data):
        log(f"prepare: {name} has {_lines(scans[name])}")
    return Work(config, workdir, corpora, scans, readers, log)


def _has_text(data: DataConfig, name: str) -> bool:
    return name in data.splits and (name == "train" or data.has_text(name))


def _open(config: Config) -> dict[str, Corpus]:
    data = config.data
    named = [name for name in data.splits if _has_text(data, name)]
    corpora = {name: open_split(data, name, config.seed) for name in named}
    return corpora if data.mono_source is None else {**corpora, MONO: open_mono(data)}


def _lines(found: Scan) -> str:
    """How many lines, in words."""
    if found.lines < found.there:
        return f"{found.lines} of {found.there} lines (data.train_rows)"
    return f"{found.lines} lines"


def _vocabulary(work: Work) -> Vocabulary:
    """The vocabulary of a sample of the usable train lines, or the one that vocab.path names."""
    require_rows(work.scans["train"], work.scans["train"].usable, 0)
    train, options, share = work.scans["train"], work.config.vocab, work.readers.processes.broadcast
    text: dict[str, Any] = {"corpus": train.sha256}
    if train.held_out is not None:
        text["held_out"] = len(train.held_out.pairs)
    trains = share("prepare: is there a vocabulary", lambda: needs_training(work.workdir, options, text))
    sample = _sample(work, train) if trains else []
    share(
        "prepare: vocabulary",
        lambda: make_vocabulary(work.workdir, options, text, lambda: sample, work.log).fingerprint,
    )
    return load_vocabulary(work.workdir / paths.VOCABULARY)


def _sample(work: Work, train: Scan) -> list[str]:
    """The lines that the first process trains the vocabulary on; nothing on the others."""
    readers, corpus = work.readers, work.corpora.get("train")
    reading = Reading(readers, work.config.data.rows_per_shard)

    def part() -> Iterator[tuple[int, str]]:
        assert corpus is not None
        return sample_part(corpus, train, reading)

    if readers.processes.count == 1:
        lines = collect_sample(part(), train)
    else:
        readers.gather(
            "prepare: lines for the vocabulary",
            lambda: write_sample_part(work.workdir, readers.index or 0, part()),
        )
        is_first = readers.processes.is_first
        lines = collect_sample(read_sample_parts(work.workdir, readers.count), train) if is_first else []
    if readers.processes.is_first:
        forget_sample_parts(work.workdir)
    return lines


def _checked_vocabulary(workdir: epath.Path, config: Config, processes: Processes) -> Vocabulary:
    processes.broadcast("prepare: check", lambda: check_vocabulary(workdir, config.vocab).fingerprint)
    return load_vocabulary(workdir / paths.VOCABULARY)


def _checked(
    workdir: epath.Path, split: str, config: Config, vocabulary: Vocabulary, processes: Processes
) -> Manifest:
    """The manifest of a finished split; UserError if it is damaged or made with other options."""
    directory = workdir / paths.split(split)
    manifest = load_verified(directory, processes, expect={"vocabulary": vocabulary.fingerprint})
    require_split(workdir, split)
    old, new = manifest.options["prepare"], record_options(config)
    if changed := differences(old, new):
        values = ", ".join(f"{name} was {_leaf(old, name)} and is {_leaf(new, name)}" for name in changed)
        raise UserError(f"{directory} was prepared with other options ({values}); use a new workdir.")
    processes.broadcast(f"prepare: {split} is checked", lambda: forget_plan(directory))
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
