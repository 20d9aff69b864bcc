"""WMT14 English-German with the paper's sizes and schedule, from tensorflow-datasets.

    emnat em --config=configs/wmt14_en_de.py --workdir=runs/wmt14 --config.data.tfds_dir=/path/to/tfds

Fits v5e:2x2, by `emnat compile` with 10.7 of 16 GiB a chip in training; a single chip, v5e:1x1, with the
batch cut in parts (11.1 GiB), which leaves it as it is: `--config.teacher_train.accumulate=4
--config.student_train.accumulate=4`. For one GPU these figures give estimates, not measured: 80 GB as it is,
16 GB with the parts. Time and score are not measured, for the data must be downloaded.
"""

from emnat_jax.config import Config
from emnat_jax.config.convert import load_sibling, to_config_dict


def get_config():
    config = to_config_dict(Config())
    data = config.data
    data.kind = "tfds"
    data.tfds = "wmt14_translate/de-en"
    data.source_language, data.target_language = "en", "de"
    data.buckets = (16, 32, 64, 128, 250)
    data.batch_tokens = 65_536
    data.rows_per_shard = 100_000
    config.vocab.size = 32_000
    load_sibling(__file__, "iwslt14_de_en").paper_model(
        config, size="base", base_lr=0.05, steps=125_000, length_penalty=0.6
    )
    return config
