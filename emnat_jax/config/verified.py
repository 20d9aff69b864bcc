"""Options of verified decoding: how a teacher checks what a student has drafted."""

import dataclasses

from emnat_jax.config.checks import each, positive

VERIFIED = "verified"  # its name among decoders
DRAFTING = ("draft", "draft_block", "redraft", "accept_top", "accept_margin")  # options that it has alone


@dataclasses.dataclass(frozen=True)
class VerifiedOptions:
    """How many tokens of a draft the teacher checks in a pass, and which it accepts.

    Without a rule a token is accepted where it is the teacher's own choice, and the output is that of greedy
    search. A rule accepts others as well, so that the output is another: with both, a token has to meet both.
    """

    draft_block: int = 8  # tokens that are checked in a pass; more than an output may have means all of them
    redraft: bool = False  # after every pass the student drafts the rest anew, given what is written
    accept_top: int | None = None  # accepted among this many most probable tokens
    accept_margin: float | None = None  # accepted up to this many nats below the most probable token

    def __post_init__(self) -> None:
        positive(self, "draft_block", "accept_top")
        each(self, ("accept_margin",), lambda value: value >= 0, "0 or more nats")

    @property
    def is_lossless(self) -> bool:
        """Whether the output is that of greedy search."""
        return self.accept_top is None and self.accept_margin is None


def has_second_model(decoder: str | None, rescore: str | None) -> bool:
    """Whether a round's other model takes part: the student that drafts, or the teacher that rescores."""
    return decoder == VERIFIED or rescore == "teacher"
