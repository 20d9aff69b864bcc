"""The option that moves the length of outputs, tuned on the valid split and kept with the model."""

import dataclasses
import json
import shutil

import pytest

from emnat_jax.artifacts.dataset import read_dataset
from emnat_jax.artifacts.manifest import MANIFEST_NAME, load_manifest
from emnat_jax.artifacts.saved_config import write_config
from emnat_jax.config import Config, CTCOptions, DAGOptions, GLATOptions, ModelConfig, VanillaOptions
from emnat_jax.data.pairs import make_pairs
from emnat_jax.em.load import load
from emnat_jax.em.plan import make_plan
from emnat_jax.em.train_model import Sources, train_model
from emnat_jax.em.train_options import training_options
from emnat_jax.em.tune_length import best_of, tune_length
from emnat_jax.errors import UserError
from emnat_jax.evaluation.bleu import quality
from emnat_jax.inference.sentences import best_text
from emnat_jax.training import manifest as model_manifest
from emnat_jax.training.manifest import Tried, TunedLength
from tests.em.runs import MODEL, small_config, workspace

ROWS = 10  # of the 24 of the valid split
SHORT = CTCOptions(decoder="greedy", length_reward=-9.0)  # all frames are blank


def config_with(options, family="ctc", role="student", **train) -> Config:
    base = small_config()
    changed = dataclasses.replace(base.student_train, **{"best_rows": ROWS, "tune_length": True} | train)
    model = ModelConfig(family=family, options=options, **MODEL)
    return dataclasses.replace(base, **{f"{role}_train": changed, role: model})


def trained(workdir, output, config, role="student", log=None):
    """(the workdir, the manifest of a model of that configuration)."""
    work = workspace(workdir, config)
    work.context.log = log or work.log
    options = training_options(config, role)
    return work, train_model(work.context, options, Sources(workdir / "data/train"), output, label="test")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A workdir that is prepared and no more."""
    directory, config = tmp_path_factory.mktemp("tune") / "run", small_config()
    work, stage = workspace(directory, config), make_plan(config)[0]
    stage.run(stage.options(config), work.context)
    write_config(directory, config)
    return directory


@pytest.fixture(scope="module")
def tuned(workdir):
    """(the workdir, the folder of a model tuned with greedy decoding, its manifest, what was logged)."""
    logged, folder, choices = [], workdir / "tuned", CTCOptions._length_choices
    with pytest.MonkeyPatch.context() as patch:  # each value is compiled for
        few = lambda self: choices(self, "length_reward", self.decoder, (0.0, 3.0))  # noqa: E731
        patch.setattr(CTCOptions, "length_choices", few)
        work, manifest = trained(workdir, folder, config_with(SHORT), log=logged.append)
        yield work, folder, manifest, logged


def quality_of(model, work, rows=ROWS):
    rows = list(read_dataset(work.directory / "data/valid"))[:rows]
    lines = [best_text(found, work.vocabulary) for found in model.decode(make_pairs(rows))]
    return quality(lines, [[row.target_text for row in rows]])


def test_every_value_is_measured_and_the_best_is_kept(tuned):
    work, folder, manifest, logged = tuned
    found = manifest.options["tuned_length"]
    assert (found["option"], found["decoder"]) == ("length_reward", "greedy")
    assert [one["value"] for one in found["tried"]] == [-9.0, 0.0, 3.0]
    model = work.load(folder)
    for one in found["tried"]:
        config = with_options(model.config, length_reward=one["value"])
        functions = work.context.compiled(config, work.config.data.buckets)
        measured = quality_of(dataclasses.replace(model, functions=functions), work)
        assert (measured.bleu, measured.length_ratio) == pytest.approx((one["bleu"], one["length_ratio"]))
    best = max(found["tried"], key=lambda one: one["bleu"])
    assert found["value"] == best["value"] != SHORT.length_reward and best["bleu"] > 0
    [line] = [line for line in logged if "length_reward" in line]
    assert f"length_reward={found['value']:g}" in line
    assert ("beyond these" in line) == (found["value"] == 3.0)
    assert all(f"{one['value']:g} (BLEU {one['bleu']:.2f}" in line for one in found["tried"])


def with_options(model, **changes):
    return dataclasses.replace(model, options=dataclasses.replace(model.options, **changes))


def test_whoever_opens_the_model_decodes_with_the_value(tuned):
    work, folder, manifest, _ = tuned
    value, best = manifest.options["tuned_length"]["value"], work.load(folder)
    assert best.config.options == dataclasses.replace(SHORT, length_reward=value)
    assert manifest.options["model"]["ctc"]["length_reward"] == SHORT.length_reward
    lines = [row.source_text for row in read_dataset(work.directory / "data/test")]
    opened = load(folder)
    assert opened.translate(lines) == best.translate(lines) != [""] * len(lines)
    assert opened.decoding_options()["length_reward"] == value


def test_the_value_belongs_to_its_decoder(tuned):
    _, folder, manifest, _ = tuned
    value = manifest.options["tuned_length"]["value"]
    assert load(folder, decoder="greedy").config.options.length_reward == value
    assert load(folder, decoder="beam").config.options == dataclasses.replace(
        SHORT, decoder="beam", length_reward=SHORT.length_reward
    )


def test_a_kill_before_the_manifest_changes_nothing(tuned, tmp_path):
    work, folder, manifest, _ = tuned
    again = tmp_path / "model"
    shutil.copytree(folder, again)
    (again / MANIFEST_NAME).unlink()
    _, resumed = trained(work.directory, again, work.config)
    assert resumed.options == manifest.options and resumed.content_hash == manifest.content_hash


def test_it_is_refused_for_a_finished_training_of_another_kind(tuned):
    work, folder, _, _ = tuned
    with pytest.raises(UserError, match="student_train.tune_length"):
        trained(work.directory, folder, config_with(SHORT, tune_length=False))


def test_it_needs_a_valid_split(workdir, tmp_path):
    shutil.copytree(workdir / "data/train", tmp_path / "data/train")
    shutil.copytree(workdir / "vocab", tmp_path / "vocab")
    with pytest.raises(UserError, match="^student_train.tune_length=True.*valid split.*=False"):
        trained(tmp_path, tmp_path / "model", config_with(SHORT))


@pytest.mark.slow
def test_a_teacher_of_greedy_search_is_tuned_with_a_beam(workdir, tmp_path):
    """Its own search stays greedy; the value is for N-best lists, the beam, and rescoring."""
    config = config_with(None, "ar", "teacher")
    work, manifest = trained(workdir, tmp_path / "model", config, "teacher")
    found = manifest.options["tuned_length"]
    assert (found["option"], found["decoder"]) == ("length_penalty", "beam")
    for decoder, beam in ((None, 1), ("greedy", 1), ("beam", 5)):
        change = None if decoder is None else lambda model, decoder=decoder: model.with_decoder(decoder)
        options = work.load(tmp_path / "model", change).config.options
        assert (options.beam, options.length_penalty) == (beam, found["value"])
    with_beam = work.load(tmp_path / "model", lambda model: model.with_decoder("beam"))
    best = max(one["bleu"] for one in found["tried"])
    assert quality_of(with_beam, work).bleu == pytest.approx(best)


def test_where_nothing_moves_the_length_the_log_says_so(workdir):
    logged = []
    config = config_with(VanillaOptions(), "vanilla")
    work = workspace(workdir, config)
    work.context.log = logged.append
    assert tune_length(work.context, training_options(config, "student"), {}, "test") is None
    assert sum("no option moves the length" in line for line in logged) == 1


def test_equal_values_leave_the_configured_one():
    def best(configured, *tried):
        return best_of([Tried(value, bleu, 1.0) for value, bleu in tried], configured).value

    assert best(1.0, (0.0, 7.0), (0.8, 7.0), (1.0, 7.0), (2.0, 7.0)) == 1.0
    assert best(1.0, (0.0, 7.0), (0.8, 9.0), (1.0, 7.0), (1.1, 9.0)) == 1.1
    assert best(1.0, (0.0, 9.0), (1.0, 7.0), (2.0, 9.0)) == 0.0


@pytest.mark.parametrize(
    ("options", "family", "decoder"),
    [
        (GLATOptions(base="dag", base_options=DAGOptions(length_exponent=0.7)), "glat", "joint_viterbi"),
        (VanillaOptions(length_candidates=3), "vanilla", "odd"),
    ],
)
def test_the_value_goes_into_the_options_of_the_family(options, family, decoder):
    model = ModelConfig(family=family, options=options).resolve(10, 8)
    choices = options.length_choices()
    found = TunedLength(choices.option, decoder, 0.25, ())
    into = found.into(model)
    inner = getattr(into.options, "of_base", into.options)
    assert getattr(inner, choices.option) == 0.25 and into.options.length_choices().configured == 0.25
    assert TunedLength(choices.option, "other", 0.25, ()).into(model) == model
    assert TunedLength.of(json.loads(json.dumps(found.as_json()))) == found


def test_the_stage_compiles_the_decoding_that_it_does():
    """A beam, where the teacher's own search is greedy."""
    config = config_with(None, "ar", "teacher")
    [stage] = [stage for stage in make_plan(config) if stage.output == "rounds/0/teacher"]
    work = workspace("unused", config)
    from emnat_jax.em.stages.programs import Target
    from emnat_jax.runtime.memory import Memory

    options = stage.options(config)
    models = {"teacher": options.resolved(60)}
    target = Target(work.context.layout, models, 60, 8, Memory(None))
    names = [program.name for program in stage.programs(options, target)]
    assert "tune the length of ar" in names
    plain = config_with(None, "ar", "teacher", tune_length=False)
    names = [program.name for program in stage.programs(stage.options(plain), target)]
    assert not any("tune" in name for name in names)


def test_a_manifest_from_before_has_no_tuned_length(tuned, tmp_path):
    work, _, manifest, _ = tuned
    old = dataclasses.replace(
        manifest, options={k: v for k, v in manifest.options.items() if k != "tuned_length"}
    )
    model_manifest.write_manifest(tmp_path, old)
    assert load_manifest(tmp_path).options["model"]
    _, model = model_manifest.load_model_manifest(tmp_path, work.vocabulary.fingerprint)
    assert model.options == SHORT
