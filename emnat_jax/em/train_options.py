"""What decides the weights of a training, beside its data."""

import dataclasses

from emnat_jax.config import (
    ROLES,
    Config,
    DataConfig,
    EMConfig,
    ModelConfig,
    ModelSpec,
    Scoring,
    TrainConfig,
)
from emnat_jax.data.folds import Fold
from emnat_jax.em.context import Intervals, derived_seed


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """What decides the weights, beside the data."""

    role: str
    model: ModelConfig
    train: TrainConfig  # intervals that do not matter have their defaults (`Intervals`)
    buckets: tuple[int, ...]
    batch_tokens: int
    row_multiple: int
    targets: int  # of each row; more than one: the E-step inside the loss
    prior_beta: float  # of those; 0 where there is one
    scoring: Scoring | None  # of BLEU, where evaluations are compared or a length is tuned by it
    seed: int
    left_out: Fold | None = None  # rows of data and base that are not learned; mono has none of them
    # True: it takes over the state of the optimiser and its place in the schedule from the model it starts
    # from. None otherwise, as in what older versions wrote.
    continues: bool | None = None

    @property
    def data(self) -> DataConfig:
        """How rows are cut into batches."""
        return DataConfig(
            buckets=self.buckets, batch_tokens=self.batch_tokens, row_multiple=self.row_multiple
        )

    def resolved(self, vocabulary: int) -> ModelSpec:
        """The model for a vocabulary of this size."""
        return self.model.resolve(vocabulary, self.buckets[-1])


def training_options(
    config: Config, role: str, index: int = 0, targets: int = 1, *, left_out: Fold | None = None
) -> TrainOptions:
    """Options for training `role` in round `index` on `targets` targets of each row that is not left out."""
    model, train = config.role(role)
    is_warm = index > 0 and config.em.warm_start
    continues = is_warm and config.em.later_optimizer == "continued"
    if is_warm:
        train = _of_later_round(train, config.em, continues=continues)
        model = dataclasses.replace(model, options=model.family_options.continued())
    if left_out is not None:  # its model scores, and decodes nothing
        train = dataclasses.replace(train, tune_length=False)
    return TrainOptions(
        role=role,
        model=model,
        train=Intervals.of(TrainConfig()).into(train),
        buckets=config.data.buckets,
        batch_tokens=train.batch_tokens or config.data.batch_tokens,
        row_multiple=config.data.row_multiple,
        targets=targets,
        prior_beta=config.em.prior_beta if targets > 1 else 0.0,
        scoring=config.scoring if train.translates_valid else None,
        seed=derived_seed(config.seed, index, ROLES.index(role)),
        left_out=left_out,
        continues=continues or None,
    )


def finetune_options(config: Config, index: int, targets: int, objective: str) -> TrainOptions:
    """Options for training on the student of round `index`, the last, for an objective."""
    asked, train, student = config.em.finetune, config.student_train, config.student
    assert asked.steps is not None, "the plan has no such training"
    tuned = _scaled(train, asked.steps, asked.lr_ratio, asked.steps / train.steps)
    changed = dataclasses.replace(
        config,
        student=dataclasses.replace(student, options=student.family_options.continued()),
        student_train=dataclasses.replace(tuned, objective=objective),
    )
    options = training_options(changed, "student", targets=targets)  # without the ratios of later rounds
    return dataclasses.replace(options, seed=derived_seed(config.seed, index, len(ROLES)))


def _of_later_round(train: TrainConfig, em: EMConfig, *, continues: bool) -> TrainConfig:
    """The training of a round that starts warm; one that continues is past its warm-up."""
    steps = max(1, round(train.steps * em.later_steps_ratio))
    return _scaled(train, steps, em.later_lr_ratio, 1.0 if continues else em.later_steps_ratio)


def _scaled(train: TrainConfig, steps: int, lr_ratio: float, warmup_ratio: float) -> TrainConfig:
    """The training with other steps, rate and warm-up, which gets no longer."""
    warmup = max(1, round(train.optim.warmup_steps * min(warmup_ratio, 1.0)))
    optim = dataclasses.replace(train.optim, peak_lr=train.optim.peak_lr * lr_ratio, warmup_steps=warmup)
    return dataclasses.replace(train, steps=steps, optim=optim)
