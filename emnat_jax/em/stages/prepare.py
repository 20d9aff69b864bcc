"""Corpus -> vocabulary and records."""

import dataclasses
from typing import Any, ClassVar

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import is_finished
from emnat_jax.config import Config, DataConfig, VocabConfig
from emnat_jax.data.corpora import SPLITS
from emnat_jax.data.prepare import prepare
from emnat_jax.em.context import PLACES, Context
from emnat_jax.em.stages.base import Stage


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """What decides vocabulary and records, beside the text itself."""

    data: DataConfig  # without places and batches: those have their defaults
    splits: tuple[str, ...]  # with text of their own
    vocab: VocabConfig  # without the place of a finished one
    given_vocabulary: bool  # whether there is a finished one
    seed: int


@dataclasses.dataclass(frozen=True)
class Prepare(Stage[PrepareOptions]):
    """Makes vocab/ and data/{train,valid,test,mono}."""

    output: str = paths.DATA
    round: None = None
    sets: tuple[str, ...] = SPLITS

    kind: ClassVar[str] = "prepare"
    checks_itself: ClassVar[bool] = True

    def inputs(self) -> dict[str, str]:
        return {}

    def options(self, config: Config) -> PrepareOptions:
        given = config.vocab.path is not None
        return PrepareOptions(
            data=_of_records(config.data),
            splits=tuple(filter(config.data.has_text, SPLITS)),
            vocab=VocabConfig() if given else config.vocab,
            given_vocabulary=given,
            seed=config.seed,
        )

    def conditions(self, config: Config) -> dict[str, Any]:
        """Files may move while a run has them; two runs read the same text only from the same files."""
        places = {name: getattr(config.data, name) for name in PLACES if name != "test_multi"}
        return places | {"vocabulary": config.vocab.path}

    def run(self, options: PrepareOptions, context: Context) -> None:
        data = context.settings.in_place(options.data)
        vocab = dataclasses.replace(options.vocab, path=context.settings.vocabulary)
        config = Config(seed=options.seed, data=data, vocab=vocab)
        prepare(config, context.directory, context.log, context.processes)

    def parts(self) -> list[str]:
        return [paths.VOCABULARY, *map(paths.split, self.sets)]

    def is_finished(self, workdir: epath.Path) -> bool:
        return all(is_finished(workdir / paths.split(name)) for name in self.sets)


def _of_records(data: DataConfig) -> DataConfig:
    """Corpus options that the records depend on; of the buckets only the widest."""
    names = ("kind", "options", "source_language", "target_language", "tfds", "valid_rows", "rows_per_shard")
    values = {name: getattr(data, name) for name in names}
    return DataConfig(buckets=data.buckets[-1:], train_rows=data.first_lines, **values)
