"""Exports a trained model: writes its files, measures them against it, and only then finishes the folder."""

import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from emnat_jax.artifacts.manifest import is_finished
from emnat_jax.config import ModelSpec, Scoring
from emnat_jax.data.pairs import Pairs
from emnat_jax.errors import require
from emnat_jax.evaluation.bleu import corpus_bleu
from emnat_jax.export.ctranslate2_teacher import write_ctranslate2
from emnat_jax.export.folder import PRECISIONS, About, Exported, finish_export, require_own
from emnat_jax.export.load import OPENERS
from emnat_jax.export.onnx_student import Student, require_graph, write_float32, write_int8
from emnat_jax.export.parity import LOSS, Outputs, Sample, loses, outputs, parity
from emnat_jax.export.shortlist import Shortlist, most_words
from emnat_jax.export.stablehlo import write_stablehlo
from emnat_jax.inference.model import TrainedModel

LEAST_IDENTICAL = 0.99  # of the sample; near ties may fall the other way, and nothing else
KEPT_FLOAT = ((), ("output",))  # weights that int8 leaves alone: the first of these that is good enough


class Job(NamedTuple):
    """What is exported, and what it is measured on."""

    model: TrainedModel
    buckets: tuple[int, ...]
    sample: Sample
    scoring: Scoring
    seed: int
    log: Callable[[str], None]
    shortlist: Shortlist | None = None  # of int8; float32 always has the whole vocabulary

    def bleu(self, found: Outputs) -> float:
        """Of outputs for the sample."""
        return corpus_bleu(found.lines, [list(self.sample.references)], self.scoring)

    def about(self, format: str, precision: str, parity: dict[str, Any] | None = None) -> About:
        """The manifest's entry."""
        return About(
            format=format,
            model=self.model.config,
            buckets=self.buckets,
            precisions=_precisions(format),
            precision=precision,
            parity=parity or {},
            shortlist=None if self.shortlist is None else self.shortlist.per_word,
        )


def export_model(job: Job, directory: epath.PathLike, format: str | None = None) -> About:
    """Writes the folder of an exported model and says what is in it.

    `format`: one of FORMATS; None is onnx for a parallel family, ctranslate2 for another. UserError
    where the folder is taken, and for a family, decoder or detail that the format does not have.
    """
    directory = epath.Path(directory)
    format = _settled_format(job.model.config, directory, format, is_listed=job.shortlist is not None)
    directory.mkdir(parents=True, exist_ok=True)
    # First: it refuses what has no graph, before anything is translated.
    found = _MAKERS[format](job, directory)
    measured = parity(outputs(job.model, job.sample), found, job.sample, job.scoring)
    if job.shortlist is not None:
        measured["shortlist"]["words"] = _mean_words(job.shortlist, job.sample.pairs)
    _require_identical(measured)
    smallest = _precisions(format)[0]
    good = smallest == "float32" or loses(measured, smallest) <= LOSS
    if not good:
        job.log(_loss(job, measured, smallest))
    about = job.about(format, smallest if good else "float32", measured)
    finish_export(directory, about, job.model.vocabulary, job.model.fingerprint, job.seed)
    return about


def check_shortlist(
    model: TrainedModel, buckets: tuple[int, ...], directory: epath.PathLike, format: str | None
) -> None:
    """UserError for what `export_model` with a shortlist would refuse: to ask before the list is learned."""
    _settled_format(model.config, epath.Path(directory), format, is_listed=True)
    require_graph(_student(model, buckets))


def _settled_format(model: ModelSpec, directory: epath.Path, format: str | None, *, is_listed: bool) -> str:
    """The format, that of the model where none is asked for; UserError as `export_model` says."""
    require(not is_finished(directory), f"{directory} is finished; delete it, or export to another --output.")
    format = format or ("onnx" if model.options.is_parallel else "ctranslate2")
    require(
        format == "onnx" or not is_listed,
        f"--shortlist is of the format onnx, not {format}; leave it out.",
    )
    require_own(directory, format)
    return format


def _student(model: TrainedModel, buckets: tuple[int, ...]) -> Student:
    return Student(model.config, jax.tree.map(np.asarray, model.params), buckets)


def _make_onnx(job: Job, directory: epath.Path) -> dict[str, Outputs]:
    """Writes the files; outputs by precision."""
    paths = {name: directory / f"{name}.onnx" for name in PRECISIONS}
    student = _student(job.model, job.buckets)
    write_float32(paths["float32"], student)
    found = {"float32": _outputs(job, directory, "onnx", "float32")}
    reference = job.bleu(found["float32"])
    if job.shortlist is not None:
        with tempfile.TemporaryDirectory() as folder:  # to tell what it costs from what int8 does
            write_float32(epath.Path(folder) / paths["float32"].name, student, job.shortlist)
            found["shortlist"] = _outputs(job, epath.Path(folder), "onnx", "float32")
            alone = job.bleu(found["shortlist"])
            # Where it costs too much alone, no output layer wins that back: what int8 adds then decides.
            reference = alone if reference - alone > LOSS else reference
    for floats in KEPT_FLOAT:
        write_int8(paths["int8"], student, job.shortlist, floats)
        found["int8"] = _outputs(job, directory, "onnx", "int8")
        if reference - job.bleu(found["int8"]) <= LOSS:
            break
    return found


def _make_ctranslate2(job: Job, directory: epath.Path) -> dict[str, Outputs]:
    params = jax.tree.map(np.asarray, job.model.params)
    write_ctranslate2(directory, job.model.config, params, job.model.vocabulary)
    return {name: _outputs(job, directory, "ctranslate2", name) for name in PRECISIONS}


def _make_stablehlo(job: Job, directory: epath.Path) -> dict[str, Outputs]:
    longest = job.model.max_length
    widths = sorted({longest, *(width for width in job.buckets if width < longest)})
    write_stablehlo(directory, job.model.config, job.model.params, widths)
    return {"float32": _outputs(job, directory, "stablehlo", "float32")}


_MAKERS = {"onnx": _make_onnx, "ctranslate2": _make_ctranslate2, "stablehlo": _make_stablehlo}


def _precisions(format: str) -> tuple[str, ...]:
    """Those that a format has, the smallest first; StableHLO computes as the trained model does."""
    return ("float32",) if format == "stablehlo" else PRECISIONS


def _outputs(job: Job, directory: epath.Path, format: str, precision: str) -> Outputs:
    about = job.about(format, precision)
    opened = Exported(directory, about, job.model.vocabulary, "", job.model.fingerprint)
    return outputs(OPENERS[format](opened, precision, 0), job.sample)


def _mean_words(shortlist: Shortlist, pairs: Pairs) -> float:
    """Words that a translation may use, in the mean of the sentences."""
    sources = np.split(pairs.source_tokens, pairs.source_offsets[1:-1])
    return float(np.mean([len(shortlist.words(source)) for source in sources]))


def _loss(job: Job, measured: dict[str, Any], precision: str) -> str:
    """What to say of a precision that is not good enough."""
    said, default = f"{precision} loses {loses(measured, precision):.2f} BLEU", "the default of this export"
    if job.shortlist is None:
        return f"{said}; float32 is {default}"
    alone = loses(measured, "shortlist")
    said = f"{said}, {alone:.2f} by the shortlist alone; float32, which has none, is {default}"
    longer = min(2 * job.shortlist.per_word, most_words(job.model.vocabulary.size))
    if alone <= loses(measured, precision) - alone or longer == job.shortlist.per_word:
        return said
    return f"{said}; a longer one loses less: --shortlist={longer}, to another --output"


def _require_identical(measured: dict[str, Any]) -> None:
    same, count = measured["float32"]["identical"], measured["sentences"]
    require(
        same >= LEAST_IDENTICAL * count,
        f"the exported model translates {same} of {count} sentences as the trained one does, so that it is "
        "another model: a fault of this program, please report it.",
    )
