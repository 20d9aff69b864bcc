"""Sentence pairs of tensorflow-datasets, read without TensorFlow."""

from collections.abc import Callable, Iterator
from typing import Any

from emnat_jax.artifacts.records import features_of, read_examples
from emnat_jax.config import DataConfig
from emnat_jax.data.text import TextPair
from emnat_jax.errors import UserError

_BLOCK_ROWS = 4_096
_SPLIT_NAMES = {"train": "train", "valid": "validation", "test": "test"}


def open_split(config: DataConfig, split: str, seed: int) -> Callable[[], Iterator[TextPair]]:
    """A function that reads the pairs of a split of the data set that data.tfds names.

    Files in the array_record and in the tfrecord format are read. Raises UserError where the library,
    the data set, its files, the split or a language is missing.
    """
    builder = _builder(config)
    name = _SPLIT_NAMES[split]
    _check_prepared(builder, config)
    _check_languages(builder, config)
    if name not in builder.info.splits:
        raise UserError(
            f"data.tfds={config.tfds} has no split {name}, only {', '.join(builder.info.splits)}; "
            "use another data set, or write its text to files and use data.kind=text."
        )
    return lambda: _pairs(builder, name, config)


def count_lines(config: DataConfig, split: str) -> list[tuple[str, int]]:
    """The name of a split and its rows, as the data set says."""
    name = _SPLIT_NAMES[split]
    return [(name, _builder(config).info.splits[name].num_examples)]


def _builder(config: DataConfig) -> Any:
    if config.tfds is None:
        raise UserError("data.tfds is not set; name a data set, e.g. data.tfds=wmt14_translate/de-en.")
    try:
        import tensorflow_datasets as tfds
        import tensorflow_datasets.translate  # registers the names of the translation sets
    except ImportError as error:
        raise UserError(f"data.kind=tfds needs `pip install tensorflow-datasets` ({error}).") from error
    try:
        return tfds.builder(config.tfds, data_dir=config.tfds_dir)
    except (ValueError, ImportError) as error:  # its "not found" is a ValueError, with a list of all names
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"data.tfds={config.tfds}, data.tfds_dir={config.tfds_dir}: "
            f"tensorflow-datasets cannot open it ({reason})."
        ) from error


def _check_prepared(builder: Any, config: DataConfig) -> None:
    if builder.is_prepared():
        return
    raise UserError(
        f"data.tfds={config.tfds} is not prepared in {builder.data_path}; where there is a network, run:\n"
        'python -c "import tensorflow_datasets as tfds, tensorflow_datasets.translate; '
        f"tfds.builder('{config.tfds}', data_dir={config.tfds_dir!r}, file_format='array_record')"
        '.download_and_prepare()"'
    )


def _check_languages(builder: Any, config: DataConfig) -> None:
    for option in ("source_language", "target_language"):
        language = getattr(config, option)
        if language not in builder.info.features:
            known = ", ".join(sorted(builder.info.features))
            raise UserError(f"data.{option}={language}: data.tfds={config.tfds} has {known}.")


def _pairs(builder: Any, split: str, config: DataConfig) -> Iterator[TextPair]:
    for line, (source, target) in enumerate(_texts(builder, split, config)):
        try:
            yield TextPair(line, source.decode(), target.decode())
        except UnicodeDecodeError as error:
            raise UserError(f"data.tfds={config.tfds}: row {line} of {split} is not UTF-8.") from error


def _texts(builder: Any, split: str, config: DataConfig) -> Iterator[tuple[bytes, bytes]]:
    languages = (config.source_language, config.target_language)
    if builder.info.file_format.value == "tfrecord":
        # Most prepared copies have this format; as_data_source refuses it, as_dataset needs TensorFlow.
        for path in builder.info.splits[split].filepaths:
            for example in read_examples(path):
                features = features_of(example)
                source, target = (features[language].bytes_list.value[0] for language in languages)
                yield source, target
    else:
        rows = builder.as_data_source(split)
        # In blocks: reading one row at a time is slower by a factor of ten and more.
        for start in range(0, len(rows), _BLOCK_ROWS):
            for element in rows.__getitems__(range(start, min(start + _BLOCK_ROWS, len(rows)))):
                source, target = (element[language] for language in languages)
                yield source, target
