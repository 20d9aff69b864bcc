"""Every configuration option and its default, written nowhere else.

`Config()` is the default run. A part that is made by hand, such as `TrainConfig(steps=5000)`, has the
defaults of its class, which are not those of the run: change `Config()` with `replace`, by the keys of the
command line.

    config = replace(Config(), {"student.family": "dag", "student_train.steps": 500})

`FAMILIES`, `RULES` and `TASKS` are the tables of what such a key can name; a line of your own stands there
before a configuration names it. `to_config_dict` is for configuration files.
"""

from emnat_jax.config.convert import replace, to_config_dict
from emnat_jax.config.data import DataConfig, VocabConfig
from emnat_jax.config.em import EMConfig, SelectConfig
from emnat_jax.config.families import (
    FAMILIES,
    AROptions,
    CMLMOptions,
    CTCOptions,
    DAGOptions,
    FamilySpec,
    GLATOptions,
    LengthOptions,
    UpsampledOptions,
    VanillaOptions,
)
from emnat_jax.config.family_options import FamilyOptions, LengthChoices
from emnat_jax.config.model import SIZES, ModelConfig, ModelSpec, TransformerSpec
from emnat_jax.config.program import (
    ROLES,
    Config,
    EvaluationConfig,
    MeshConfig,
    Role,
)
from emnat_jax.config.rules import RULES, RuleSpec
from emnat_jax.config.scoring import TOKENIZERS, UNSPACED, Scoring, tokenizer_for
from emnat_jax.config.tasks import TASKS, ModesOptions, TaskSpec
from emnat_jax.config.training import OBJECTIVES, OptimConfig, TrainConfig

__all__ = [
    "FAMILIES",
    "OBJECTIVES",
    "ROLES",
    "RULES",
    "SIZES",
    "TASKS",
    "TOKENIZERS",
    "UNSPACED",
    "AROptions",
    "CMLMOptions",
    "CTCOptions",
    "Config",
    "DAGOptions",
    "DataConfig",
    "EMConfig",
    "EvaluationConfig",
    "FamilyOptions",
    "FamilySpec",
    "GLATOptions",
    "LengthChoices",
    "LengthOptions",
    "MeshConfig",
    "ModelConfig",
    "ModelSpec",
    "ModesOptions",
    "OptimConfig",
    "Role",
    "RuleSpec",
    "Scoring",
    "SelectConfig",
    "TaskSpec",
    "TrainConfig",
    "TransformerSpec",
    "UpsampledOptions",
    "VanillaOptions",
    "VocabConfig",
    "replace",
    "to_config_dict",
    "tokenizer_for",
]
