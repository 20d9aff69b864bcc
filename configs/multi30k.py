"""Multi30k English-German (29,000 image captions; research use only, not bundled).

    EMNAT_DATA=/path/to/corpora emnat em --config=configs/multi30k.py --workdir=runs/multi30k

The folder `multi30k` in EMNAT_DATA holds train, val and test_2016_flickr with the endings .en.gz and .de.gz.

Round 0 took about an hour on two busy CPU cores: teacher 31.5, student 25.8, rescored 27.4 sacreBLEU
(docs/results/multi30k.md); its EM rounds are not measured.
"""

from emnat_jax.config import Config
from emnat_jax.config.convert import to_config_dict, use_text_files


def get_config():
    config = to_config_dict(Config())
    data = config.data
    data.source_language, data.target_language = "en", "de"
    use_text_files(data, "multi30k", valid="val", test="test_2016_flickr", ending=".gz")
    data.buckets = (18, 28, 48)
    data.batch_tokens = 2_048
    config.teacher.dropout = config.student.dropout = 0.1
    config.student.family, config.student.label_smoothing = "vanilla", 0.1
    config.teacher_train.steps = 2_000
    config.student_train.steps = 2_500
    for train in (config.teacher_train, config.student_train):
        train.ema_decay = 0.995
        train.eval_every = train.checkpoint_every = 500
        train.optim.method, train.optim.warmup_steps = "adamw", 400  # as measured
    return config
