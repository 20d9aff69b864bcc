"""IWSLT14 German-English with the paper's sizes and schedule (Sun & Yang 2020, released code).

    EMNAT_DATA=/path/to/corpora emnat em --config=configs/iwslt14_de_en.py --workdir=runs/iwslt14

The folder `iwslt14_de_en` in EMNAT_DATA holds train, valid and test with the endings .de and .en: raw text,
lower-cased if scores are to be set beside the paper's.

Fits v5e:1x1, a single chip: by `emnat compile`, 8.8 of 16 GiB in training. By the same figure a GPU of 16 GB
holds it; that is an estimate, not measured. Time and score are not measured, for the data must be downloaded.
"""

from emnat_jax.config import Config
from emnat_jax.config.convert import to_config_dict, use_text_files


def get_config():
    config = to_config_dict(Config())
    data = config.data
    use_text_files(data, "iwslt14_de_en")
    data.buckets = (16, 32, 64, 128, 175)
    data.batch_tokens = 32_768  # 200 sentences padded to 175 a step
    config.vocab.size = 10_000
    config.vocab.contractions = ()  # as it was measured
    paper_model(config, size="small", base_lr=0.1, steps=120_000, length_penalty=1.4)
    return config


def paper_model(config, *, size: str, base_lr: float, steps: int, length_penalty: float) -> None:
    """Network, optimiser and loop as the released code has them."""
    for model in (config.teacher, config.student):
        model.size = size
        model.norm = "post"
        model.dropout = model.label_smoothing = 0.1
        model.dtype = "bfloat16"
        model.encoder_layers = model.decoder_layers = None  # those of `size`
        model.extra_length = 20
    config.student.family = "vanilla"
    config.student_train.tune_length = False
    config.teacher.ar.beam = 5
    config.teacher.ar.length_penalty = length_penalty
    for train in (config.teacher_train, config.student_train):
        train.steps = steps
        train.ema_decay = None
        train.optim.method, train.optim.schedule = "adamw", "paper"
        train.optim.peak_lr = base_lr
        train.optim.warmup_steps = 4_000
        train.optim.weight_decay = 1e-4
        train.eval_every = train.checkpoint_every = 2_000
    config.em.rounds = 3
    config.em.candidates = 20
    config.em.update_teacher = True
    config.em.student_data = "distilled"
    config.em.control = False
    config.em.share_encoder = False
    config.em.later_optimizer = "new"
    config.em.later_steps_ratio = 0.25
    config.em.later_lr_ratio = 1.0
    config.em.stop_min_gain = 0.1
    config.em.stop_max_drift = 0.05
    config.select.rule = "student_top1"
    config.select.include_reference = False
    config.select.normalise_length = False
