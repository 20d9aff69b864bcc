"""Learning-rate schedules and the optimiser.

A schedule maps the number of finished steps (0 before the first) to the learning rate of the next one.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from emnat_jax.config import OptimConfig
from emnat_jax.training.muon import make_muon
from emnat_jax.types import Params

Number = float | int | jax.Array
PAPER_WIDTH = 256  # hard-wired in the released code for every model size
PAPER_FLAT_STEPS = 4_000  # its cap on the rate, whatever the warm-up
COSINE_FLOOR = 0.01  # share of the peak that is left at the end
NOT_DECAYED = ("bias", "norm", "position", "scale")


def paper_schedule(base_lr: Number, warmup_steps: Number = 4_000) -> optax.Schedule:
    """The rate of the released code (docs/method.md, section 11.2).

    base * 10 * 256^-1/2 * min((step + 1) W^-3/2, (step + 1)^-1/2, 4000^-1/2).
    """
    scale = base_lr * 10 * PAPER_WIDTH**-0.5

    def schedule(step: Any) -> Any:
        count = step + 1
        rate = jnp.minimum(count * warmup_steps**-1.5, count**-0.5)
        return scale * jnp.minimum(rate, PAPER_FLAT_STEPS**-0.5)

    return schedule


def inverse_sqrt_schedule(peak_lr: Number, warmup_steps: Number) -> optax.Schedule:
    """Linear up to `peak_lr` at step `warmup_steps`, then falling with 1 / sqrt(step)."""

    def schedule(step: Any) -> Any:
        count = step + 1
        return peak_lr * jnp.minimum(count / warmup_steps, (warmup_steps / count) ** 0.5)

    return schedule


def cosine_schedule(peak_lr: Number, warmup_steps: Number, total_steps: Number) -> optax.Schedule:
    """Linear up to `peak_lr` at step `warmup_steps`, then half a cosine to 1% of it at the last step."""

    def schedule(step: Any) -> Any:
        count = step + 1
        progress = jnp.clip((count - warmup_steps) / jnp.maximum(total_steps - warmup_steps, 1), 0.0, 1.0)
        cosine = COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + jnp.cos(math.pi * progress)) / 2
        return peak_lr * jnp.minimum(count / warmup_steps, cosine)

    return schedule


SCHEDULES = {  # name -> schedule of (peak, warm-up steps, total steps)
    "paper": lambda peak, warmup, total: paper_schedule(peak, warmup),
    "inverse_sqrt": lambda peak, warmup, total: inverse_sqrt_schedule(peak, warmup),
    "cosine": cosine_schedule,
}


def make_schedule(config: OptimConfig, total_steps: int) -> optax.Schedule:
    """The schedule that the configuration names."""
    return SCHEDULES[config.schedule](config.peak_lr, config.warmup_steps, total_steps)


def make_optimizer(config: OptimConfig, total_steps: int, axes: Params) -> optax.GradientTransformation:
    """Clipping of the global norm, then bias-corrected AdamW or Muon, decaying matrices only."""
    adam = optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps)
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        make_muon(adam, axes) if config.method == "muon" else adam,
        optax.add_decayed_weights(config.weight_decay, decay_mask(axes)),
        _scale_by_rate(config, total_steps),
    )


class RateState(NamedTuple):
    """The numbers of the schedule. As arrays, so that runs which differ in them share one compiled step."""

    count: jax.Array  # type: ignore[assignment]  # i32[]; finished steps
    peak_lr: jax.Array  # f32[], as the other two
    warmup_steps: jax.Array
    total_steps: jax.Array


def with_schedule(opt_state: optax.OptState, config: OptimConfig, total_steps: int) -> optax.OptState:
    """The optimiser's state with other numbers of the schedule; its moments and finished steps stay."""

    def changed(leaf: Any) -> Any:
        if not isinstance(leaf, RateState):
            return leaf
        numbers = RateState(leaf.count, *_numbers(config, total_steps))
        return jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), numbers, leaf)

    return jax.tree.map(changed, opt_state, is_leaf=lambda leaf: isinstance(leaf, RateState))


def _numbers(config: OptimConfig, total_steps: int) -> list[jax.Array]:
    numbers = (config.peak_lr, config.warmup_steps, total_steps)
    return [jnp.asarray(number, jnp.float32) for number in numbers]


def _scale_by_rate(config: OptimConfig, total_steps: int) -> optax.GradientTransformation:
    """Multiplies the updates by minus the learning rate of the schedule."""

    def init(params: optax.Params) -> RateState:
        return RateState(jnp.zeros((), jnp.int32), *_numbers(config, total_steps))

    def update(updates: optax.Updates, state: RateState, params: optax.Params | None = None) -> Any:
        rate = SCHEDULES[config.schedule](state.peak_lr, state.warmup_steps, state.total_steps)(state.count)
        return jax.tree.map(lambda u: -rate * u, updates), state._replace(count=state.count + 1)

    return optax.GradientTransformation(init, update)


def decay_mask(axes: Params) -> Params:
    """True for the leaves of `axes` that are decayed: matrices that are no bias, norm or position.

    Dimensions are counted without "layers", so that stacked and separate layers decay the same.
    """

    def decays(path: Any, names: tuple) -> bool:
        words = " ".join([jax.tree_util.keystr(path), *filter(None, names)]).lower()
        matrix = len([name for name in names if name != "layers"]) >= 2
        return matrix and not any(word in words for word in NOT_DECAYED)

    return jax.tree_util.tree_map_with_path(decays, axes, is_leaf=lambda leaf: isinstance(leaf, tuple))
