"""The bundled German-English demo, the default of every command.

emnat em --config=configs/quickstart.py --workdir=runs/quickstart
"""

from emnat_jax.config import Config
from emnat_jax.config_dict import to_config_dict


def get_config():
    return to_config_dict(Config())
