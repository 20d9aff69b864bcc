"""Outputs that are drawn from a model, token by token."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from emnat_jax.decoding.beam import Cache, LogProbsFn, LogTotal, choose_tokens, normalised, pick_slots
from emnat_jax.decoding.top import top_1
from emnat_jax.types import PAD, Hypotheses, is_impossible


def sample_search(
    log_probs_fn: LogProbsFn,
    cache: Cache,
    first_tokens: Int[Array, "B K"],
    keys: Key[Array, " B"],
    *,
    max_length: int,
    temperature: float,
    log_total: LogTotal = normalised,
) -> Hypotheses:
    """K outputs a row, drawn independently, in decreasing log-probability; the same one may come twice.

    Ancestral sampling: each token is drawn from p(token | prefix)^(1/temperature), normalised anew at each
    position, up to EOS, forced at the last one. `log_prob` is that of the model itself (temperature 1), and
    so is `rank_score`. `keys` hold one key a row (`source_keys`); draw k of a row depends on its key and k,
    not on K or on other rows. `log_total` is as in `beam_search`.
    """
    slots = jnp.arange(first_tokens.shape[1])
    of_draws = jax.vmap(lambda key: jax.vmap(lambda slot: jax.random.fold_in(key, slot))(slots))(keys)
    found = choose_tokens(
        log_probs_fn,
        cache,
        first_tokens,
        choose=lambda scores, position: draw(scores, of_draws, position, temperature),
        max_length=max_length,
        log_total=log_total,
    )
    hypotheses = Hypotheses(found.tokens, found.log_prob, found.log_prob)
    return pick_slots(hypotheses, jnp.argsort(-found.log_prob, axis=1))


def draw(
    scores: Float[Array, "B K V"], keys: Key[Array, "B K"], position: Int[Array, ""], temperature: float
) -> Int[Array, "B K"]:
    """One entry of each row of scores, with probability proportional to exp(score / temperature).

    The largest of score / temperature + Gumbel noise (Maddison et al., A* Sampling, NIPS 2014, section 2).
    What is impossible stays so at any temperature.
    """
    size = scores.shape[-1:]
    noise_of = jax.vmap(jax.vmap(lambda key: jax.random.gumbel(jax.random.fold_in(key, position), size)))
    noisy = scores / temperature + noise_of(keys)
    return top_1(jnp.where(is_impossible(scores), -jnp.inf, noisy))[1]


def source_keys(key: Key[Array, ""], source: Int[Array, "B S"]) -> Key[Array, " B"]:
    """A key for each row, of `key` and the row's tokens without PAD.

    So draws do not depend on batches, padding or devices. Equal sources have equal keys, and equal draws.
    """

    def of_row(tokens: Array) -> Array:
        def fold(key: Array, token: Array) -> tuple[Array, None]:
            return jnp.where(token == PAD, key, jax.random.fold_in(key, token)), None

        return jax.lax.scan(fold, key, tokens)[0]

    return jax.vmap(of_row)(source)
