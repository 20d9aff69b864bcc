"""Models with random weights whose outputs have a given length: the time of a size, before any training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from emnat_jax.config import DataConfig, ModelConfig, ModelSpec, VocabConfig
from emnat_jax.data.vocab import Vocabulary
from emnat_jax.data.vocab_training import train_vocabulary
from emnat_jax.errors import UserError, require
from emnat_jax.export.ctranslate2_teacher import write_ctranslate2
from emnat_jax.export.folder import PRECISIONS, About, finish_export
from emnat_jax.export.onnx_student import Student, write_float32, write_int8
from emnat_jax.export.shortlist import random_shortlist
from emnat_jax.families import make_family
from emnat_jax.inference.model import CompiledModel, TrainedModel
from emnat_jax.profiling.samples import TokenSample
from emnat_jax.runtime.mesh import Layout, param_shardings
from emnat_jax.tokens import EOS, NUM_SPECIAL
from emnat_jax.types import Params

SEED = 0
NEVER = -1e4  # as the bias of a score: no other score comes near, and no sum leaves the range of numbers
_WORDS_A_LINE = 100


@dataclasses.dataclass(frozen=True)
class RandomSize:
    """What models with random weights have in common."""

    size: str  # of config.model.SIZES
    vocab: int  # ids, specials included
    length: int  # tokens of each source and, where the family decides it, of each output, EOS included

    def __post_init__(self) -> None:
        require(self.length >= 2, f"--length={self.length}: use 2 or more, EOS is one of them.")

    def model(self, family: str, *, decoder: str | None = None, **changes: int | str) -> ModelSpec:
        """A model of the family; `changes` are of its sizes or its dtype."""
        config = ModelConfig(family=family, size=self.size, **changes)  # type: ignore[arg-type]
        model = config.resolve(self.vocab, self.length)
        return model if decoder is None else model.with_decoder(decoder)

    def sample(self, count: int) -> TokenSample:
        """Sources of random words, all of the same length."""
        tokens = np.random.default_rng(SEED).integers(NUM_SPECIAL, self.vocab, (count, self.length))
        tokens[:, -1] = EOS
        return TokenSample(list(tokens.astype(np.int32)))

    def vocabulary(self) -> Vocabulary:
        """Made-up words for all ids, so that the model can be exported as any other."""
        words = [f"w{number}" for number in range(NUM_SPECIAL, self.vocab)]
        lines = [
            " ".join(words[start : start + _WORDS_A_LINE]) for start in range(0, len(words), _WORDS_A_LINE)
        ]
        found = train_vocabulary(lines, VocabConfig(size=self.vocab, model="word", character_coverage=1.0))
        assert found.size == self.vocab, f"{found.size} words of {self.vocab}"
        return found


def layers_of(text: str) -> dict[str, int]:
    """ENCODER+DECODER layers, e.g. 12+1, as options of a model. UserError for another form."""
    encoder, plus, decoder = text.partition("+")
    if not (plus and encoder.isdigit() and decoder.isdigit() and int(encoder) and int(decoder)):
        raise UserError(f"layers={text}: give the layers of encoder and decoder, e.g. layers=12+1.")
    return {"encoder_layers": int(encoder), "decoder_layers": int(decoder)}


def random_model(
    model: ModelSpec, vocabulary: Vocabulary, layout: Layout, data: DataConfig | None = None
) -> TrainedModel:
    """A model with the weights that a training would begin with, but for the length of its outputs.

    The autoregressive family never ends before the limit, and a family with a length head always gives all
    the tokens that there may be. The others give as many as their weights make them.
    """
    family = make_family(model)
    shardings = param_shardings(layout, family.axes)
    length = model.transformer.max_length

    def draw(key: jax.Array) -> Params:
        params = family.init(key)
        if not model.options.is_parallel:
            return _endless(params)
        return _of_length(params, length) if "length_head" in params else params

    params = jax.jit(draw, out_shardings=shardings)(jax.random.key(SEED))
    functions = CompiledModel(model, data or DataConfig(buckets=(length,)), layout)
    return TrainedModel(functions, params, vocabulary, f"random-{SEED}")


def _endless(params: Params) -> Params:
    """EOS is not chosen, so that it comes where the limit forces it."""
    embedding = params["transformer"]["embedding"]
    bias = embedding["output_bias"].at[EOS].set(NEVER)
    changed = {**params["transformer"], "embedding": {**embedding, "output_bias": bias}}
    return {**params, "transformer": changed}


def _of_length(params: Params, length: int) -> Params:
    """One length wins: what is normalised sums to zero, so that its product with ones is that of the bias."""
    norm = params["transformer"]["encoder_norm"]
    changed = {
        **params["transformer"],
        "encoder_norm": {"scale": jnp.ones_like(norm["scale"]), "bias": jnp.ones_like(norm["bias"])},
    }
    table = jnp.zeros_like(params["length_head"]["table"]).at[length].set(1.0)
    return {**params, "transformer": changed, "length_head": {"table": table}}


def export_random(
    model: TrainedModel, directory: epath.PathLike, format: str, shortlist: int | None = None
) -> None:
    """Writes an exported model as `emnat export` does, without the comparison of translations.

    A `shortlist` is of so many random words for each word of the source. UserError where the format has none.
    """
    require(format == "onnx" or shortlist is None, f"shortlist={shortlist}: a model of {format} has none.")
    directory = epath.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    params, buckets = jax.tree.map(np.asarray, model.params), (model.max_length,)
    if format == "onnx":
        paths = {precision: directory / f"{precision}.onnx" for precision in PRECISIONS}
        student = Student(model.config, params, buckets)
        listed = random_shortlist(model.vocabulary.size, shortlist, SEED) if shortlist else None
        write_float32(paths["float32"], student)
        write_int8(paths["int8"], student, listed)
    else:
        write_ctranslate2(directory, model.config, params, model.vocabulary)
    about = About(format, model.config, buckets, PRECISIONS, PRECISIONS[0], {}, shortlist)
    finish_export(directory, about, model.vocabulary, model.fingerprint, SEED)
