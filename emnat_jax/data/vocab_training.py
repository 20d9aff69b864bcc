"""Training of the joint subword vocabulary."""

import collections
import io
import itertools
import re
from collections.abc import Iterable

from emnat_jax.config import VocabConfig
from emnat_jax.data.vocab import Vocabulary, as_segmented
from emnat_jax.errors import UserError
from emnat_jax.tokens import BOS, EOS, PAD, UNK

_THREADS = 4  # part of the result: another number gives other unigram pieces
_MAX_LINE_BYTES = 4_192  # SentencePiece leaves longer lines out of the training
COVERAGES = (0.9999, 0.9995, 0.999, 0.998, 0.995, 0.99, 0.985, 0.98)  # that an error may advise
_MARGIN = 2  # characters by which SentencePiece's count may differ from ours
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


def train_vocabulary(lines: Iterable[str], config: VocabConfig) -> Vocabulary:
    """The vocabulary of `lines`; the same for the same lines, whatever the machine.

    All of them lie in memory; of a large text take a sample (`vocab_sample.py`). It has fewer than
    config.size pieces where the text supports no more. Raises UserError where there is no text, and where
    config.size is too small to hold every character.
    """
    sample = [as_segmented(line) for line in lines]
    if not any(line.strip() and len(line.encode()) <= _MAX_LINE_BYTES for line in sample):
        raise UserError(
            f"no text to train a vocabulary on: {len(sample)} lines, none with 1 to {_MAX_LINE_BYTES} bytes."
        )
    try:
        return Vocabulary(_train(sample, config))
    except RuntimeError as error:
        raise _explained(error, config, sample) from error


def _train(lines: list[str], config: VocabConfig) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type=config.model,
        vocab_size=config.size,
        hard_vocab_limit=False,  # a small text gives a small vocabulary instead of an error
        character_coverage=config.character_coverage,
        byte_fallback=config.byte_fallback and config.model in ("bpe", "unigram"),
        # References are scored as they were written. NFKC, the default, would rewrite "½" or "…" in
        # the training targets, and the model could never produce what the reference says.
        normalization_rule_name="identity",
        max_sentence_length=_MAX_LINE_BYTES,
        num_threads=_THREADS,
        pad_id=PAD,
        eos_id=EOS,
        unk_id=UNK,
        bos_id=BOS,
        user_defined_symbols=[*config.user_symbols, *_contractions(lines, config)],
        minloglevel=2,  # errors only; they come as exceptions
    )
    return model.getvalue()


def _contractions(lines: list[str], config: VocabConfig) -> list[str]:
    """Those that the text has. A vocabulary of words or of characters has none."""
    if config.model not in ("bpe", "unigram"):
        return []
    others = [end for end in config.contractions if end not in config.user_symbols]
    return [end for end in others if any(end in line for line in lines)]


def _explained(error: RuntimeError, config: VocabConfig, lines: list[str]) -> Exception:
    """SentencePiece's complaint in terms of our options, with values that work."""
    if too_small := _TOO_SMALL.search(str(error)):
        needed = int(too_small.group(1))
        coverage = _enough_coverage(lines, config, needed - config.size)
        lower = f", or vocab.character_coverage={coverage}" if coverage is not None else ""
        return UserError(
            f"vocab.size={config.size} does not hold the {needed} characters and specials of this text; "
            f"use {2 * needed} or more{lower}."
        )
    return UserError(f"SentencePiece could not train vocab.model={config.model}, size {config.size}: {error}")


def _enough_coverage(lines: list[str], config: VocabConfig, surplus: int) -> float | None:
    """The highest of COVERAGES that leaves out `surplus` of the characters; None where none does."""
    counts = collections.Counter(itertools.chain.from_iterable(lines))
    shares = sorted((count / counts.total() for count in counts.values()), reverse=True)

    def kept(coverage: float) -> int:
        """How many of the characters, the most frequent first, reach this share of the text."""
        return 1 + sum(total < coverage for total in itertools.accumulate(shares[:-1]))

    fewest = kept(config.character_coverage) - surplus - _MARGIN
    return next((c for c in COVERAGES if c < config.character_coverage and kept(c) <= fewest), None)
