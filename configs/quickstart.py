"""The bundled German-English demo, the default of every command.

    emnat em --config=configs/quickstart.py --workdir=runs/quickstart

About a quarter of an hour on two CPU cores. Measured, sacreBLEU of the test split, mean of three seeds:
teacher 26.8; student after its EM round 30.0 in one pass, 32.7 where the teacher chooses among three outputs;
its control on plain distillation 27.1; on the corpus alone 29.8 (docs/results/quickstart.md).
"""

from emnat_jax.config import Config
from emnat_jax.config.convert import to_config_dict


def get_config():
    return to_config_dict(Config())
