"""The stages whose growth is measured, ready to be run at one place: random models, made-up text."""

import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from emnat_jax.artifacts.dataset import Provenance, describe_shard, finish_dataset
from emnat_jax.artifacts.manifest import load_manifest
from emnat_jax.artifacts.records import Row, shard_name, write_shard
from emnat_jax.config import Config, DataConfig, MeshConfig, ModelSpec, SelectConfig, TrainConfig, VocabConfig
from emnat_jax.data.batches import BatchStream
from emnat_jax.data.examples import Learned, open_examples
from emnat_jax.data.prepare import prepare
from emnat_jax.data.shard_workers import ShardWorkers
from emnat_jax.data.stored_sets import StoredSet
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.estep.selection import select
from emnat_jax.evaluation.bleu import quality
from emnat_jax.inference.distill import add_score_columns, distill
from emnat_jax.inference.model import TrainedModel
from emnat_jax.profiling.benchmark import BatchShape, ready_step
from emnat_jax.profiling.growth import Task
from emnat_jax.profiling.random_models import RandomSize, random_model
from emnat_jax.runtime.mesh import Layout, make_layout, row_shares
from emnat_jax.tokens import EOS, NUM_SPECIAL

SEED = 0
FEW = 64  # sentences of a data set that only warms up
TEACHER = "ar"
QUIET = ShardWorkers(log=lambda text: None)


class Ready(NamedTuple):
    """A stage with its input."""

    first: Callable[[], Any]  # compiles and warms up; of a small input where the size changes no program
    run: Callable[[], Any]


class Bench:
    """What the stages of one task are made of; everything is made when it is asked for."""

    def __init__(self, task: Task, folder: epath.PathLike):
        self.task, self.place, self.models = task, task.place, task.models
        self._folder = epath.Path(folder)
        self.random = np.random.default_rng(SEED)

    @property
    def size(self) -> RandomSize:
        return RandomSize(self.models.size, self.place.vocab, self.place.length)

    @functools.cached_property
    def layout(self) -> Layout:
        return make_layout(MeshConfig())

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        return self.size.vocabulary()

    @property
    def data(self) -> DataConfig:
        place = self.place
        tokens = place.batch * place.length
        on_each = -(-place.batch // row_shares(self.layout))
        return DataConfig(buckets=(place.length,), decode_rows=on_each, batch_tokens=tokens)

    def spec(self, family: str) -> ModelSpec:
        """Of the size's widths, with one layer a side: programs compile quickly, more layers cost alike."""
        return self.size.model(family, encoder_layers=1, decoder_layers=1)

    def model(self, family: str) -> TrainedModel:
        """With random weights, in batches of the place's size."""
        return random_model(self.spec(family), self.vocabulary, self.layout, self.data)

    def new_folder(self) -> epath.Path:
        """An empty one; all are deleted with that of the task."""
        return epath.Path(tempfile.mkdtemp(dir=self._folder))

    def rows(self, count: int, candidates: int = 1) -> Iterator[Row]:
        """Random sentences of the full length, each with as many random targets with scores."""
        for number in range(count):
            source, *targets = self._tokens(1 + candidates)
            names = ("student_log_prob", "teacher_log_prob", "teacher0_log_prob")
            drawn = -np.sort(self.random.exponential(10, (len(names), candidates))).astype(np.float32)
            scores = dict(zip(names, drawn, strict=True)) if candidates > 1 else {}
            text = self.vocabulary.decode(targets[0])
            yield Row(number, source, targets, self.vocabulary.decode(source), text, scores)

    def _tokens(self, count: int) -> list[np.ndarray]:
        tokens = self.random.integers(NUM_SPECIAL, self.place.vocab, (count, self.place.length))
        tokens[:, -1] = EOS
        return list(tokens.astype(np.int32))

    def data_set(self, count: int, candidates: int = 1) -> epath.Path:
        """A finished set of so many sentences."""
        directory, each = self.new_folder(), self.models.shard_rows
        rows, shards = self.rows(count, candidates), -(-count // each)
        for index in range(shards):
            write_shard(directory / shard_name(index, shards), itertools.islice(rows, each))
        kind = "bitext" if candidates == 1 else "candidates"
        made_from = {"vocabulary": self.vocabulary.fingerprint, "model": "random"}
        described = [describe_shard(directory / shard_name(index, shards)) for index in range(shards)]
        made = Provenance(kind, made_from, {}, SEED)
        finish_dataset(directory, made, shards=described, rows_in=count, dropped={})
        return directory

    def lines(self, count: int) -> list[str]:
        """Sentences of made-up words; few of them are frequent, as in a language."""
        ranks = self.random.zipf(1.2, (count, self.place.length - 1)) % (2 * self.place.vocab)
        return [" ".join(map(_word, line)) for line in ranks.tolist()]

    def write_pairs(self, count: int) -> str:
        """The path of a file with so many lines of source, TAB, target."""
        path = self.new_folder() / "pairs.tsv"
        pairs = zip(self.lines(count), self.lines(count), strict=True)
        path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
        return str(path)


def _word(number: int) -> str:
    """One of two or more syllables."""
    syllables: list[str] = []
    while number or len(syllables) < 2:
        number, rest = divmod(number, 100)
        syllables.append("bdfgklmnprstvwzchjqx"[rest // 5] + "aeiou"[rest % 5])
    return "".join(syllables)


def _prepare(bench: Bench) -> Ready:
    """Corpus to vocabulary and records."""
    place = bench.place

    def text(count: int) -> Callable[[], Any]:
        train, valid = (bench.write_pairs(lines) for lines in (count, FEW))
        buckets, rows = (16 * place.length,), bench.models.shard_rows  # nothing is too long
        data = DataConfig(kind="text", buckets=buckets, rows_per_shard=rows, train_tsv=train, valid_tsv=valid)
        config = Config(data=data, vocab=VocabConfig(size=place.vocab, byte_fallback=False))
        return lambda: prepare(config, bench.new_folder(), lambda text: None)

    return Ready(text(FEW), text(place.sentences))


def _read(batches: Callable[[BatchStream], int]) -> Callable[[Bench], Ready]:
    """From the records of a finished set to so many batches of a training."""

    def make(bench: Bench) -> Ready:
        def run(directory: epath.Path) -> Callable[[], None]:
            return lambda: _read_batches(StoredSet(directory, load_manifest(directory)), bench.data, batches)

        return Ready(run(bench.data_set(FEW)), run(bench.data_set(bench.place.sentences)))

    return make


def _read_batches(one: StoredSet, data: DataConfig, count: Callable[[BatchStream], int]) -> None:
    with open_examples(Learned([one]), log=QUIET.log) as examples:
        stream = BatchStream(examples, data, seed=SEED)
        for _ in range(count(stream)):
            next(stream)


def _train(family: Callable[[Bench], str]) -> Callable[[Bench], Ready]:
    """One optimizer step."""

    def make(bench: Bench) -> Ready:
        place = bench.place
        shape = BatchShape(place.batch, place.length, place.length)
        step = ready_step(bench.spec(family(bench)), TrainConfig(), bench.layout, shape)

        def run() -> None:
            jax.block_until_ready(step.run())

        return Ready(run, run)

    return make


def _decode(family: Callable[[Bench], str], *, several: bool = False) -> Callable[[Bench], Ready]:
    """One batch, from tokens to tokens."""

    def make(bench: Bench) -> Ready:
        place, count = bench.place, bench.place.candidates if several else 1
        call = bench.size.sample(place.batch).call(bench.model(family(bench)), range(place.batch), count)
        return Ready(call, call)

    return make


def _n_best(bench: Bench) -> Ready:
    """Lists of candidates of a data set."""
    model, count = bench.model(TEACHER), bench.place.candidates

    def make(directory: epath.Path) -> Callable[[], Any]:
        return lambda: distill(
            [model],
            directory,
            bench.new_folder(),
            num_candidates=count,
            vocabulary=bench.vocabulary,
            workers=QUIET,
        )

    return Ready(make(bench.data_set(FEW)), make(bench.data_set(bench.place.sentences)))


def _score(bench: Bench) -> Ready:
    """The student's scores of all candidates of a data set."""
    place = bench.place
    scorers = {"score": bench.model(bench.models.family)}

    def make(directory: epath.Path) -> Callable[[], Any]:
        return lambda: add_score_columns(
            directory, bench.new_folder(), scorers, vocabulary=bench.vocabulary, workers=QUIET
        )

    few, all_of_them = (bench.data_set(count, place.candidates) for count in (FEW, place.sentences))
    return Ready(make(few), make(all_of_them))


def _select(config: SelectConfig) -> Callable[[Bench], Ready]:
    """The E-step over a data set of candidates."""

    def make(bench: Bench) -> Ready:
        def run(directory: epath.Path) -> Callable[[], Any]:
            vocabulary = bench.vocabulary
            return lambda: select(directory, bench.new_folder(), config, vocabulary=vocabulary, workers=QUIET)

        place = bench.place
        few, all_of_them = (bench.data_set(count, place.candidates) for count in (FEW, place.sentences))
        return Ready(run(few), run(all_of_them))

    return make


def _evaluate(bench: Bench) -> Ready:
    """Scores of translations against references."""

    def text(count: int) -> Callable[[], Any]:
        outputs, references = bench.lines(count), bench.lines(count)
        return lambda: quality(outputs, [references])

    return Ready(text(FEW), text(bench.place.sentences))


def _teacher(bench: Bench) -> str:
    return TEACHER


def _student(bench: Bench) -> str:
    return bench.models.family


MAKE: Mapping[str, Callable[[Bench], Ready]] = {  # by the names of growth.STAGES
    "prepare": _prepare,
    "read": _read(lambda stream: 1),
    "read-epoch": _read(lambda stream: stream.batches_per_epoch),
    "train-teacher": _train(_teacher),
    "train-student": _train(_student),
    "one-pass": _decode(_student),
    "greedy": _decode(_teacher),
    "beam": _decode(_teacher, several=True),
    "n-best": _n_best,
    "score": _score,
    "select": _select(SelectConfig(include_reference=False)),
    "select-drift": _select(SelectConfig(include_reference=False, max_drift=0.1)),
    "evaluate": _evaluate,
}
