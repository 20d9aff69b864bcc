"""What a stage's result depends on, as one hash: two stages with the same signature make the same."""

import hashlib
import json
from collections.abc import Iterable

from emnat_jax.config import Config
from emnat_jax.config.convert import to_dict
from emnat_jax.em.stages.base import Stage


def signature(stage: Stage, config: Config, made: dict[str, str], *, with_conditions: bool = False) -> str:
    """SHA-256 over the stage's kind, its options and the signatures of its inputs.

    `made` holds the signatures of the stages before, by output. With `with_conditions` also over the stage's
    conditions: what two runs must have alike to share it.
    """
    about = {
        "kind": stage.kind,
        "options": to_dict(stage.options(config)),
        "inputs": {name: made[path] for name, path in stage.inputs().items()},
    }
    if with_conditions:
        about["conditions"] = stage.conditions(config)
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def signatures(plan: Iterable[Stage], config: Config, *, with_conditions: bool = False) -> dict[str, str]:
    """The signature of every stage of a plan, by output, in its order."""
    made: dict[str, str] = {}
    for stage in plan:
        made[stage.output] = signature(stage, config, made, with_conditions=with_conditions)
    return made
