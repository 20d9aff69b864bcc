"""The small run as a configuration file, for `emnat --config=`."""

from emnat_jax.config.convert import to_config_dict
from tests.em.runs import small_config


def get_config():
    return to_config_dict(small_config())
