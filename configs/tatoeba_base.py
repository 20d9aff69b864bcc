"""Tatoeba English-German at the `base` size in bfloat16, for one CUDA device or TPU.

    EMNAT_DATA=/path/to/corpora ./launch/accelerator.sh

or, without the timings, `emnat em --config=configs/tatoeba_base.py --workdir=runs/tatoeba_base`. The folder
`tatoeba_en_de` in EMNAT_DATA holds train, valid and test with the endings .en.gz and .de.gz. Round 0 alone: a
teacher, plain distillation, a student. On a device that is not CUDA add --config.teacher.attention=xla and
--config.student.attention=xla.
"""

from emnat_jax.config import Config
from emnat_jax.config.convert import to_config_dict, use_text_files


def get_config():
    config = to_config_dict(Config())
    data = config.data
    data.source_language, data.target_language = "en", "de"
    use_text_files(data, "tatoeba_en_de", ending=".gz")
    data.train_rows = None
    data.buckets = (16, 32)
    data.batch_tokens = 32_768
    data.decode_rows = 1_024
    config.vocab.size = 12_000
    config.vocab.contractions = ()  # as it was measured
    config.student.family = "vanilla"
    for model in (config.teacher, config.student):
        model.size = "base"
        model.encoder_layers = model.decoder_layers = 6
        model.dtype, model.attention = "bfloat16", "cudnn"
        model.dropout, model.attention_dropout, model.ff_dropout = 0.2, 0.0, 0.1
        model.label_smoothing = 0.1
    for train in (config.teacher_train, config.student_train):
        train.steps = 1_200
        train.log_every, train.eval_every, train.checkpoint_every = 100, 600, 1_200
        train.ema_decay = 0.995
        train.optim.method, train.optim.peak_lr = "adamw", 1e-3
        train.optim.warmup_steps = 300
    config.em.rounds = 0
    config.em.student_data = "distilled"
    return config
