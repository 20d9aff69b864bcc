"""Tatoeba English-German, 157,216 pairs of everyday sentences (CC BY 2.0 FR, not bundled).

    EMNAT_DATA=/path/to/corpora emnat em --config=configs/tatoeba.py --workdir=runs/tatoeba

The folder `tatoeba_en_de` in EMNAT_DATA holds train, valid and test with the endings .en.gz and .de.gz.
Measured with a small budget only (docs/results/tatoeba.md).
"""

from emnat_jax.config import Config
from emnat_jax.config.convert import to_config_dict, use_text_files


def get_config():
    config = to_config_dict(Config())
    data = config.data
    data.source_language, data.target_language = "en", "de"
    use_text_files(data, "tatoeba_en_de", ending=".gz")
    data.buckets = (10, 16, 32)
    data.batch_tokens = 2_048
    config.vocab.size = 6_000
    config.vocab.contractions = ()  # as it was measured
    config.student.family = "vanilla"
    for train in (config.teacher_train, config.student_train):
        train.steps = 6_000
        train.eval_every = train.checkpoint_every = 1_000
        train.optim.method, train.optim.warmup_steps = "adamw", 400  # as measured
    config.em.later_steps_ratio = 2.0
    return config
