"""Whether what lies in a workdir belongs together: each output was made from the inputs that are there now.

A manifest names the content hashes of what its set or model was made from. A folder of another round, split
or run that lies in the place of one is found by that, from the manifests alone.
"""

from collections.abc import Iterator

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.journal import JOURNAL_NAME
from emnat_jax.artifacts.manifest import is_finished, load_manifest
from emnat_jax.data.prepare import require_split, set_names
from emnat_jax.em.plan import make_plan, round_stages
from emnat_jax.em.results import MEND
from emnat_jax.em.stages.base import Stage
from emnat_jax.em.stages.evaluate import Evaluate
from emnat_jax.em.stages.train import Train
from emnat_jax.em.workdir import Workspace
from emnat_jax.errors import UserError, require


def require_whole(work: Workspace) -> None:
    """UserError for the first thing in a workdir that does not belong to the others, or is damaged."""
    require_chain(work)
    require_evaluations(work)


def require_chain(work: Workspace) -> None:
    """UserError for the first finished output that was made from something else than lies there now.

    Inputs that were deleted, to save space, are not missed.
    """
    for name in set_names(work.config.data):
        if is_finished(work.directory / paths.split(name)):
            require_split(work.directory, name)
    for stage in make_plan(work.config):
        require_link(work.directory, stage)
        require_seed(work, stage)


def require_evaluations(work: Workspace) -> None:
    """UserError for the first evaluation that is damaged, or of other models than lie there now."""
    for stage in make_plan(work.config):
        if stage.kind == Evaluate.kind and stage.is_finished(work.directory):
            damage = stage.damage(work.directory)
            require(damage is None, f"{work.directory / stage.output}: {damage}; {MEND}")


def require_own_place(work: Workspace, folder: epath.Path, index: int) -> None:
    """As `require_chain`, of the folder of a model of round `index` alone, be it past the last of the plan.

    Of one that no stage makes nothing is known.
    """
    for stage in (*round_stages(work.config, 0), *round_stages(work.config, index)):
        if work.directory / stage.output == folder:
            require_link(work.directory, stage)


def require_seed(work: Workspace, stage: Stage) -> None:
    """UserError for a finished model of another seed, as where the configuration is another workdir's.

    Other options may have changed their form since an older version trained the model; a seed has not.
    """
    output = work.directory / stage.output
    if isinstance(stage, Train) and is_finished(output):
        found, own = load_manifest(output).seed, stage.options(work.config).seed
        require(
            found == own,
            f"{output} was not trained with seed={work.config.seed}: the configuration is another workdir's; "
            f"restore {paths.CONFIG} and {JOURNAL_NAME}, or begin a new workdir.",
        )


def require_link(directory: epath.Path, stage: Stage) -> None:
    """UserError where the stage is finished, and not with its inputs as they are now."""
    output = directory / stage.output
    if not stage.fingerprints() or not is_finished(output):
        return
    made = load_manifest(output, verify_shards=False).fingerprints
    for name, path, fingerprint in _expected(directory, stage):
        if made.get(name) != fingerprint:
            raise UserError(
                f"{output} was not made from {directory / path} as it is now (their {name} differs); restore "
                f"the one or the other, or delete {output} and what was made from it, and run `emnat em`."
            )


def _expected(directory: epath.Path, stage: Stage) -> Iterator[tuple[str, str, str]]:
    """(name, input that it is from, fingerprint) of what the manifest of a stage has to say."""
    named = stage.fingerprints()
    for name, path in named.items():
        if is_finished(directory / path):
            yield name, path, load_manifest(directory / path, verify_shards=False).content_hash
    kept = stage.keeps_fingerprints_of()
    if kept is not None and is_finished(directory / kept):
        for name, value in load_manifest(directory / kept, verify_shards=False).fingerprints.items():
            if name not in named:
                yield name, kept, value
