"""A finished vocabulary that is named, and one that lies in a workdir."""

import dataclasses
import io
import shutil

import pytest
import sentencepiece

from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.cli.configuration import read_config
from emnat_jax.config import VocabConfig
from emnat_jax.data.prepare import prepare
from emnat_jax.data.vocab import load_vocabulary, open_vocabulary, vocabulary_made_from
from emnat_jax.errors import UserError
from tests.data.rows import LINES, small_vocabulary
from tests.data.test_prepare import plain_corpus, silent, write_corpus


def other_corpus(folder, **vocab):
    """A corpus with letters that the other one does not have."""
    config = write_corpus(folder, [("Ж и Щ", "x y z")] * 3 + [("ein Hund", "a dog")])
    return dataclasses.replace(config, vocab=VocabConfig(**vocab))


@pytest.mark.parametrize("named", ["", "vocab", "vocab/model", "copy.model"])
def test_a_vocabulary_may_be_named_by_file_folder_or_workdir(tmp_path, named):
    prepare(plain_corpus(tmp_path / "corpus"), tmp_path / "one", silent)
    shutil.copy(tmp_path / "one/vocab/model", tmp_path / "one/copy.model")
    log: list[str] = []
    config = other_corpus(tmp_path / "other", path=str(tmp_path / "one" / named))
    summary = prepare(config, tmp_path / "two", log.append)
    one = load_vocabulary(tmp_path / "one/vocab")
    assert load_vocabulary(tmp_path / "two/vocab").model == one.model
    fingerprints = load_manifest(tmp_path / "two/data/train").fingerprints
    assert summary["vocabulary"]["fingerprint"] == one.fingerprint == fingerprints["vocabulary"]
    assert any(one.fingerprint in line for line in log)
    shutil.rmtree(tmp_path / "one")  # it was copied
    assert prepare(config, tmp_path / "two", silent) == summary


def test_the_share_of_unknown_text_is_in_the_manifest(tmp_path):
    """Ж, и and Щ are two bytes each, x and y one; nothing of the first corpus is spelled in bytes."""
    first = prepare(plain_corpus(tmp_path / "corpus"), tmp_path / "one", silent)
    other = other_corpus(tmp_path / "other", path=str(tmp_path / "one"))
    second = prepare(other, tmp_path / "two", silent)
    assert (first["train"]["pieces"]["bytes"], second["train"]["pieces"]["bytes"]) == (0, 3 * (3 * 2 + 2))
    assert first["train"]["pieces"]["unknown"] == second["train"]["pieces"]["unknown"] == 0


def test_a_vocabulary_without_bytes_counts_what_it_does_not_know(tmp_path):
    small_vocabulary("char").save(tmp_path / "vocab")
    other = other_corpus(tmp_path / "other", path=str(tmp_path / "vocab"))
    pieces = prepare(other, tmp_path / "two", silent)["train"]["pieces"]
    assert pieces["unknown"] == 3 * (3 + 2) and pieces["bytes"] == 0


@pytest.mark.parametrize("laid", ["workdir's", "model alone", "another file"])
def test_a_vocabulary_laid_into_a_workdir_is_not_replaced(tmp_path, laid):
    prepare(plain_corpus(tmp_path / "corpus"), tmp_path / "one", silent)
    folder = tmp_path / "two/vocab"
    if laid == "workdir's":
        shutil.copytree(tmp_path / "one/vocab", folder)
    else:
        folder.mkdir(parents=True)
        name = "model" if laid == "model alone" else "spm.model"
        shutil.copy(tmp_path / "one/vocab/model", folder / name)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    config = other_corpus(tmp_path / "other", size=330)
    with pytest.raises(UserError, match=r"To use it, name it: vocab\.path=\S+\. ") as caught:
        prepare(config, tmp_path / "two", silent)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    advised = str(caught.value).split("vocab.path=")[1].split(". ")[0]
    shutil.copytree(tmp_path / "two", tmp_path / "three")
    named = advised.replace("two/", "three/")
    found = prepare(other_corpus(tmp_path / "other", path=named), tmp_path / "three", silent)
    assert found["vocabulary"]["fingerprint"] == load_vocabulary(tmp_path / "one/vocab").fingerprint
    shutil.move(folder, tmp_path / "away")
    assert prepare(config, tmp_path / "two", silent)["vocabulary"]["size"] <= 330


def test_an_unfinished_run_may_make_its_own_vocabulary_again(tmp_path, monkeypatch):
    """A corpus that was mended after its vocabulary was made needs no new workdir."""
    config = write_corpus(tmp_path / "corpus", [("lang " * 60, "long")] * 3)
    with pytest.raises(UserError, match="no training row is left"):
        prepare(config, tmp_path / "work", silent)
    first = load_vocabulary(tmp_path / "work/vocab")
    found = prepare(plain_corpus(tmp_path / "corpus"), tmp_path / "work", silent)
    assert found["vocabulary"]["fingerprint"] != first.fingerprint


def train_elsewhere(path, **ids) -> None:
    """A SentencePiece model with the library's defaults, but for the special ids."""
    model = io.BytesIO()
    options = {"vocab_size": 50, "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, **options, **ids
    )
    path.write_bytes(model.getvalue())


def test_what_is_no_vocabulary_for_this_program_is_told(tmp_path):
    train_elsewhere(tmp_path / "foreign.model")
    (tmp_path / "text").write_text("the cat")
    (tmp_path / "empty").mkdir()
    for name, part in (
        (
            "foreign.model",
            r"foreign\.model: a vocabulary with .* = \(-1, 2, 0, 1\).*--pad_id=0",
        ),
        ("text", "text: this is not a SentencePiece model"),
        ("empty", "empty: a folder without a vocabulary"),
        ("nothing", "nothing: no such file"),
    ):
        with pytest.raises(UserError, match=part):
            open_vocabulary(tmp_path / name)


def test_a_vocabulary_trained_elsewhere_as_the_message_says_is_taken_and_what_it_rewrites_is_told(tmp_path):
    train_elsewhere(tmp_path / "foreign.model", pad_id=0, eos_id=1, unk_id=2, bos_id=3)
    assert open_vocabulary(tmp_path / "foreign.model").rewrites
    assert not small_vocabulary().rewrites
    log: list[str] = []
    config = other_corpus(tmp_path / "other", path=str(tmp_path / "foreign.model"))
    prepare(config, tmp_path / "two", log.append)
    assert sum("normalises text" in line for line in log) == 1


def test_options_of_a_training_do_not_go_with_a_finished_vocabulary():
    arguments = ["--config.vocab.path=one", "--config.vocab.size=500", "--config.vocab.user_symbols=<2de>"]
    with pytest.raises(
        UserError, match=r"^vocab\.path=one .*vocab\.size, vocab\.user_symbols cannot change"
    ) as e:
        read_config(arguments)
    advised = str(e.value).split("(")[1].split(", vocab.user")[0]
    assert read_config([*arguments[:1], f"--config.{advised}"]).vocab.path == "one"


def test_a_finished_workdir_is_not_said_to_have_another_vocabulary(tmp_path):
    config = plain_corpus(tmp_path / "corpus")
    prepare(config, tmp_path / "one", silent)
    for options, part in (
        (VocabConfig(size=330), r"was made with other options \(vocab\.size\)"),
        (VocabConfig(size=340, user_symbols=("<2de>",)), r"other options \(vocab\.user_symbols\)"),
    ):
        with pytest.raises(UserError, match=part):
            prepare(dataclasses.replace(config, vocab=options), tmp_path / "one", silent)
    small_vocabulary().save(tmp_path / "another")
    for path in ("another", "one/vocab"):
        named = dataclasses.replace(config, vocab=VocabConfig(path=str(tmp_path / path)))
        if path == "another":
            with pytest.raises(UserError, match="another has fingerprint .*; give vocab.path="):
                prepare(named, tmp_path / "one", silent)
        else:
            prepare(named, tmp_path / "one", silent)
    given = dataclasses.replace(config, vocab=VocabConfig(path=str(tmp_path / "another")))
    prepare(given, tmp_path / "two", silent)
    with pytest.raises(UserError, match="was not trained but named by vocab.path; give vocab.path="):
        prepare(config, tmp_path / "two", silent)


def test_a_vocabulary_made_before_there_were_contractions_stays(tmp_path):
    config = plain_corpus(tmp_path / "corpus")
    prepare(config, tmp_path / "one", silent)
    folder = tmp_path / "one/vocab"
    made_from = vocabulary_made_from(folder)
    assert made_from["options"].pop("contractions") == list(VocabConfig().contractions)
    vocabulary = load_vocabulary(folder)
    vocabulary.save(folder, made_from)
    (tmp_path / "one/data/valid/MANIFEST.json").unlink()  # as if it had been killed
    prepare(config, tmp_path / "one", silent)
    assert vocabulary_made_from(folder) == made_from
    fewer = dataclasses.replace(config, vocab=dataclasses.replace(config.vocab, contractions=("'s",)))
    prepare(fewer, tmp_path / "two", silent)
    with pytest.raises(UserError, match=r"other options \(vocab.contractions\)"):
        prepare(config, tmp_path / "two", silent)


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("lost", ["folder", "model", "manifest"])
def test_a_lost_vocabulary_is_made_again_if_it_is_the_same(tmp_path, unfinished, lost):
    config = plain_corpus(tmp_path / "corpus")
    summary = prepare(config, tmp_path / "one", silent)
    folder = tmp_path / "one/vocab"
    before = (folder / "model").read_bytes()
    if lost == "folder":
        shutil.rmtree(folder)
    else:
        (folder / {"model": "model", "manifest": "MANIFEST.json"}[lost]).unlink()
    if unfinished:
        (tmp_path / "one/data/valid/MANIFEST.json").unlink()
    other = dataclasses.replace(config, vocab=VocabConfig(size=330))
    with pytest.raises(UserError, match="options under vocab have changed since"):
        prepare(other, tmp_path / "one", silent)
    assert prepare(config, tmp_path / "one", silent) == summary
    assert (folder / "model").read_bytes() == before
