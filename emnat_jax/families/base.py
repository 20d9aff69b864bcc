"""The interface through which training, decoding and EM see a model."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax

from emnat_jax.config.verified import VerifiedOptions
from emnat_jax.decoding.verified import DraftFn, Verified
from emnat_jax.types import Batch, Hypotheses, Key, Metrics, Params, Progress


class Family(NamedTuple):
    """A conditional sequence model p(y | x) as four pure functions.

    - `init(key)`: float32 parameters, a plain nested dict of arrays.
    - `axes`: the same tree; each leaf is a tuple with one logical axis name (or None) a dimension.
      An array stacked over layers has "layers" first.
    - `loss(params, batch, key, progress)`: the float32 scalar to minimise, rows weighed by
      `batch.weight`, and metrics. `metrics["loss"]` is always there and the scalar is its
      `ratio()`. Total and weight (the target tokens that count) are sums over rows of what each row
      gives by itself: so a batch cut into parts has the same loss and gradient, however it is cut.
      A batch that holds only fillers gives 0, not NaN. `key=None` is evaluation: no dropout, no
      glancing. `progress` is the share of the training that is done, for annealed schedules.
    - `score(params, batch)`: f32[B], log p(target | source) in nats summed over the sentence, EOS
      and length term included, neither smoothed nor normalised; the same however wide the padding.
    - `decode(params, source, key, num_candidates)`: distinct hypotheses (but draws may be equal), best first
      by `rank_score`; unfilled slots have `rank_score` NEG_INF. `num_candidates` is static.

    The probabilities of all targets of a source sum to one; what a family excludes it masks itself.
    """

    init: Callable[[Key], Params]
    axes: Params
    loss: Callable[[Params, Batch, Key | None, Progress], tuple[jax.Array, Metrics]]
    score: Callable[[Params, Batch], jax.Array]
    decode: Callable[[Params, jax.Array, Key, int], Hypotheses]


@runtime_checkable
class Verify(Protocol):
    """Greedy search that checks drafts."""

    def __call__(
        self,
        params: Params,
        source: jax.Array,
        drafts: jax.Array,
        options: VerifiedOptions,
        *,
        redraft: DraftFn | None = None,
    ) -> Verified:
        """The output of greedy search for `source` i32[B, S], which checks `drafts` i32[B, L].

        They are any tokens, PAD where there are none, and decide how many passes it takes, and no token of
        the output, unless the options accept tokens that greedy search would not choose. With `redraft`
        there are new ones after every pass. Options are static.
        """


Redraft = Callable[[Params, jax.Array], DraftFn]
"""(params, source i32[B, S]) -> drafts of the rest of each output, given its beginning, in one pass."""
