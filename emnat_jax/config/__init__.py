"""Every option of the program and its default, the quickstart's. A default is written nowhere else."""

from emnat_jax.config.data import DataConfig, ModesConfig, VocabConfig
from emnat_jax.config.model import (
    SIZES,
    ARConfig,
    CMLMConfig,
    CTCConfig,
    DAGConfig,
    GLATConfig,
    ModelConfig,
    VanillaConfig,
)
from emnat_jax.config.program import (
    Config,
    EMConfig,
    EvaluationConfig,
    MeshConfig,
    OptimConfig,
    SelectConfig,
    TrainConfig,
)

__all__ = [
    "SIZES",
    "ARConfig",
    "CMLMConfig",
    "CTCConfig",
    "Config",
    "DAGConfig",
    "DataConfig",
    "EMConfig",
    "EvaluationConfig",
    "GLATConfig",
    "MeshConfig",
    "ModelConfig",
    "ModesConfig",
    "OptimConfig",
    "SelectConfig",
    "TrainConfig",
    "VanillaConfig",
    "VocabConfig",
]
