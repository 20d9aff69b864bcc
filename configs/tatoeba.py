"""Tatoeba English-German, 157,216 pairs of everyday sentences (CC BY 2.0 FR, not bundled).

    EMNAT_DATA=/path/to/corpora emnat em --config=configs/tatoeba.py --workdir=runs/tatoeba

The folder holds train, valid and test with the endings .en.gz and .de.gz.
"""

from emnat_jax.config import Config
from emnat_jax.config_dict import to_config_dict

FOLDER = "tatoeba_en_de"


def get_config():
    config = to_config_dict(Config())
    data = config.data
    data.train_rows = None
    data.kind = "text"
    data.source_language, data.target_language = "en", "de"
    for split in ("train", "valid", "test"):
        data[f"{split}_source"] = f"{FOLDER}/{split}.en.gz"
        data[f"{split}_target"] = f"{FOLDER}/{split}.de.gz"
    data.buckets = (10, 16, 32)
    config.vocab.size = 6_000
    return config
