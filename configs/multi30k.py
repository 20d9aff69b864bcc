"""Multi30k English-German (29,000 image captions; research use only, not bundled).

    EMNAT_DATA=/path/to/corpora emnat em --config=configs/multi30k.py --workdir=runs/multi30k

The folder `multi30k` in EMNAT_DATA holds train, val and test_2016_flickr with the endings .en.gz and .de.gz.

On one CPU core the teacher takes about an hour (35.9 sacreBLEU, 36.7 with a beam of 5), the whole run about
two and a half hours (docs/results/multi30k.md).
"""

from emnat_jax.config import Config
from emnat_jax.config.convert import to_config_dict, use_text_files


def get_config():
    config = to_config_dict(Config())
    data = config.data
    data.source_language, data.target_language = "en", "de"
    use_text_files(data, "multi30k", valid="val", test="test_2016_flickr", ending=".gz")
    data.buckets = (14, 18, 24, 48)
    data.batch_tokens = 2_048
    config.vocab.contractions = ()  # as it was measured
    for model in (config.teacher, config.student):
        model.encoder_layers, model.decoder_layers = 4, 2
    config.teacher.dropout, config.student.dropout = 0.15, 0.1
    config.teacher_train.steps, config.student_train.steps = 8_000, 1_500
    for train in (config.teacher_train, config.student_train):
        train.ema_decay = 0.995
        train.eval_every = train.checkpoint_every = 500
        train.best_by = "bleu"
        train.optim.warmup_steps = 300
    config.teacher_train.optim.schedule = "cosine"
    config.em.candidates = 8
    config.em.later_steps_ratio = 2.0
    config.em.finetune.steps = 300  # for n-grams: +0.85 BLEU over as many of the likelihood
    return config
