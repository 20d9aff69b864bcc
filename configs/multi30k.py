"""Multi30k English-German (29,000 image captions; research use only, not bundled).

    EMNAT_DATA=/path/to/corpora emnat em --config=configs/multi30k.py --workdir=runs/multi30k

The folder holds train, val and test_2016_flickr with the endings .en.gz and .de.gz.
"""

from emnat_jax.config import Config
from emnat_jax.config_dict import to_config_dict

FOLDER = "multi30k"


def get_config():
    config = to_config_dict(Config())
    data = config.data
    data.train_rows = None
    data.kind = "text"
    data.source_language, data.target_language = "en", "de"
    for split, name in (("train", "train"), ("valid", "val"), ("test", "test_2016_flickr")):
        data[f"{split}_source"] = f"{FOLDER}/{name}.en.gz"
        data[f"{split}_target"] = f"{FOLDER}/{name}.de.gz"
    data.buckets = (16, 24, 48)
    config.vocab.size = 6_000
    return config
