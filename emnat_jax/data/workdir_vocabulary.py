"""The vocabulary of a workdir: trained on its text, or a finished one that was named."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import is_finished, load_manifest
from emnat_jax.artifacts.shards import forget_plan, keep_plan, read_plan
from emnat_jax.config import VocabConfig
from emnat_jax.config.convert import differences
from emnat_jax.data.corpora import SPLITS
from emnat_jax.data.vocab import (
    Vocabulary,
    load_vocabulary,
    open_vocabulary,
    vocabulary_in,
    vocabulary_made_from,
)
from emnat_jax.data.vocab_training import train_vocabulary
from emnat_jax.errors import require
from emnat_jax.runtime.progress import Log

_LATER = ("contractions", "user_symbols")  # lists that vocabularies of before do not name


def make_vocabulary(
    workdir: epath.Path,
    config: VocabConfig,
    text: dict[str, Any],
    lines: Callable[[], Iterable[str]],
    log: Log,
) -> Vocabulary:
    """The vocabulary that the options name, or one trained on `lines`; made once, and kept in the workdir.

    text: plain values that tell one text from another. UserError for a vocabulary in the workdir that another
    run or somebody's hand has put there.
    """
    folder = workdir / paths.VOCABULARY
    given = None if config.path is None else open_vocabulary(config.path)
    made_from = _trained_from(text, config) if given is None else {"given": given.fingerprint}
    if _is_same(vocabulary_made_from(folder), made_from):
        return load_vocabulary(folder)
    lies = vocabulary_in(folder)
    if given is None or lies not in ("", given.fingerprint):
        _require_replaceable(workdir, lies)
    vocabulary = _trained(config, lines, log) if given is None else _taken(given, config, log)
    require({vocabulary.fingerprint} >= _used(workdir), _changed(workdir))
    keep_plan(workdir / paths.DATA, {"vocabulary": vocabulary.fingerprint})
    vocabulary.save(folder, made_from)
    return vocabulary


def needs_training(workdir: epath.Path, config: VocabConfig, text: dict[str, Any]) -> bool:
    """Whether `make_vocabulary` would train one on lines; UserError for what lies in its way, as there."""
    folder = workdir / paths.VOCABULARY
    if config.path is not None or _is_same(vocabulary_made_from(folder), _trained_from(text, config)):
        return False
    _require_replaceable(workdir, vocabulary_in(folder))
    return True


def check_vocabulary(workdir: epath.Path, config: VocabConfig) -> Vocabulary:
    """The finished vocabulary of a workdir. UserError where it is not the one that the options ask for.

    A file that vocab.path names may have gone since.
    """
    folder = workdir / paths.VOCABULARY
    vocabulary, made_from = load_vocabulary(folder), vocabulary_made_from(folder) or {}
    if config.path is None:
        found = made_from.get("options", {})
        require(
            "given" not in made_from,
            f"{folder} was not trained but named by vocab.path; give vocab.path={folder}, or use a new "
            "workdir.",
        )
        changed = differences(found, _known_to(found, _options(config)))
        require(
            not changed,
            f"{folder} was made with other options ({', '.join(f'vocab.{name}' for name in changed)}); go "
            "back to what they were, or use a new workdir.",
        )
    elif epath.Path(config.path).expanduser().exists():
        given = open_vocabulary(config.path)
        require(
            given.fingerprint == vocabulary.fingerprint,
            f"vocab.path={config.path} has fingerprint {given.fingerprint}; the records were made with that "
            f"of {folder}, {vocabulary.fingerprint}; give vocab.path={folder}, or use a new workdir.",
        )
    forget_plan(workdir / paths.DATA)
    return vocabulary


def _trained_from(text: dict[str, Any], config: VocabConfig) -> dict[str, Any]:
    return {**text, "options": _options(config)}


def _options(config: VocabConfig) -> dict[str, Any]:
    """The options of a training, without those that came later and do nothing."""
    options = dataclasses.asdict(config)
    symbols = {name: list(options.pop(name)) for name in _LATER}
    del options["path"]
    return options | {name: value for name, value in symbols.items() if value}


def _known_to(found: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options, without contractions where a vocabulary was made before there were any."""
    is_before = "contractions" not in found
    return {name: value for name, value in options.items() if name != "contractions" or not is_before}


def _is_same(found: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    """Whether a vocabulary was made from what one is wanted from."""
    if found is None or "options" not in wanted:
        return found == wanted
    return found == wanted | {"options": _known_to(found.get("options", {}), wanted["options"])}


def _used(workdir: epath.Path) -> set[str]:
    """Fingerprints of the vocabularies that finished splits were made with."""
    folders = [workdir / paths.split(split) for split in SPLITS if is_finished(workdir / paths.split(split))]
    return {load_manifest(folder, verify_shards=False).fingerprints["vocabulary"] for folder in folders}


def _changed(workdir: epath.Path) -> str:
    return (
        f"{workdir}: {paths.DATA}/ has finished sets, but the train corpus or the options under vocab have "
        "changed since; go back to what they were, or use a new workdir."
    )


def _require_replaceable(workdir: epath.Path, lies: str | None) -> None:
    """UserError where a vocabulary lies that records were made with, or that no unfinished run has put there.

    `lies` is its fingerprint. Where it (or its manifest) is lost, it is made again.
    """
    folder, used = workdir / paths.VOCABULARY, _used(workdir)
    require(not lies or not used or lies in used, _changed(workdir))
    own = read_plan(workdir / paths.DATA).get("vocabulary")
    use = next(iter(sorted(folder.iterdir()))) if lies == "" else folder
    require(
        lies in (None, own, *used) or (lies == "" and bool(used)),
        f"{folder} is there and is not of this text and these options. To use it, name it: vocab.path={use}. "
        "To have another one made, move it away, or use a new workdir.",
    )


def _trained(config: VocabConfig, lines: Callable[[], Iterable[str]], log: Log) -> Vocabulary:
    vocabulary = train_vocabulary(lines(), config)
    if vocabulary.size < config.size:
        log(f"prepare: the text supports {vocabulary.size} pieces, not vocab.size={config.size}")
    return vocabulary


def _taken(given: Vocabulary, config: VocabConfig, log: Log) -> Vocabulary:
    log(f"prepare: the vocabulary of {config.path}, {given.size} pieces, fingerprint {given.fingerprint}")
    if given.rewrites:
        log("prepare: this vocabulary normalises text, so that outputs may differ from references by it")
    return given
