"""The generated multi-modal task: every source has 4 valid translations, and a checker knows them.

emnat em --config=configs/modes.py --workdir=runs/modes
"""

from emnat_jax.config import Config
from emnat_jax.config_dict import to_config_dict


def get_config():
    config = to_config_dict(Config())
    config.data.kind = "modes"
    config.data.buckets = (8,)
    config.vocab.model = "word"
    config.vocab.size = 200
    return config
