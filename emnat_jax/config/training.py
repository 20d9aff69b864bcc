"""Options of one training run."""

import dataclasses

from emnat_jax.config.checks import each, one_of, positive

OBJECTIVES = ("likelihood", "ngram")
BEST_BY = ("bleu", "loss", "distilled_loss")


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """The optimiser and its schedule."""

    # adamw, or muon: orthogonal updates for the matrices of the layers, AdamW's for the rest (docs/method.md,
    # section 11.1).
    method: str = "adamw"
    schedule: str = "inverse_sqrt"  # inverse_sqrt, cosine or paper (docs/method.md, section 11.2)
    peak_lr: float = 3e-3  # reached after warmup_steps; for `paper` the base rate, e.g. 0.1
    warmup_steps: int = 150
    b1: float = 0.9  # of AdamW, as b2 and eps
    b2: float = 0.98
    eps: float = 1e-9
    weight_decay: float = 0.01  # on matrices only
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        one_of("method", self.method, ("adamw", "muon"))
        one_of("schedule", self.schedule, ("inverse_sqrt", "cosine", "paper"))
        positive(self, "peak_lr", "warmup_steps", "eps", "clip_norm")
        each(self, ("b1", "b2"), lambda value: 0 <= value < 1, "a number from 0 to below 1")
        each(self, ("weight_decay",), lambda value: value >= 0, "0 or more")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    steps: int = 870
    # likelihood, or ngram: the bigrams that outputs are expected to have in common with their targets, for
    # fine-tuning a trained ctc or dag (docs/method.md, section 9.8).
    objective: str = "likelihood"
    batch_tokens: int | None = None  # of a step, rows x width; None: data.batch_tokens
    accumulate: int = 1  # micro-batches that a batch is cut into
    ema_decay: float | None = 0.99  # decay of the weight average that is used; None: the last weights
    log_every: int = 50  # steps
    eval_every: int = 300  # steps between evaluations on the valid split
    checkpoint_every: int = 300  # steps
    patience: int | None = None  # evaluations without a better one before stopping
    average_best: int | None = None  # the mean of the weights of so many best evaluations is used
    # What makes an evaluation the best: bleu of the model's own outputs, loss on the references, or
    # distilled_loss on the outputs of the round's teacher. None: bleu where patience or average_best ask for
    # a best one, else the last weights are used.
    best_by: str | None = None
    best_rows: int | None = 1_000  # first sentences of the valid split that are translated; None: all
    # After the training the option that moves the length of outputs (docs/method.md, section 10.9) takes the
    # value with the best BLEU on the best_rows; it is kept with the model. False: its value stays as it is.
    tune_length: bool = False
    optim: OptimConfig = OptimConfig()

    def __post_init__(self) -> None:
        one_of("objective", self.objective, OBJECTIVES)
        positive(
            self,
            "steps",
            "batch_tokens",
            "accumulate",
            "log_every",
            "eval_every",
            "checkpoint_every",
            "patience",
            "average_best",
            "best_rows",
        )
        if self.best_by is not None:
            one_of("best_by", self.best_by, BEST_BY)
        each(self, ("ema_decay",), lambda value: 0 < value < 1, "None or a number between 0 and 1")

    @property
    def chosen_by(self) -> str | None:
        """What the checkpoint that is used is chosen by; None where the last one is used."""
        asked = self.patience is not None or self.average_best is not None
        return self.best_by or ("bleu" if asked else None)

    @property
    def translates_valid(self) -> bool:
        """Whether BLEU of the model's own outputs on the valid split decides anything."""
        return self.tune_length or self.chosen_by == "bleu"
