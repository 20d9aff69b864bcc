"""EM training of autoregressive teachers and non-autoregressive students, in JAX.

    import emnat_jax as em

    student = em.load("runs/quickstart")
    student.translate(["Wo ist der Bahnhof?"])

Everything in `__all__` is public and stays; what else the package holds may change. Importing the package is light:
JAX is imported when something is used that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Config",
    "TrainedModel",
    "Translation",
    "UserError",
    "__version__",
    "decoding",
    "families",
    "load",
    "losses",
    "run",
]

# Public name -> (module, its name there); None: the module itself.
_PUBLIC: dict[str, tuple[str, str | None]] = {
    "Config": ("emnat_jax.config", "Config"),
    "TrainedModel": ("emnat_jax.inference.model", "TrainedModel"),
    "Translation": ("emnat_jax.inference.model", "Translation"),
    "UserError": ("emnat_jax.errors", "UserError"),
    "decoding": ("emnat_jax.decoding", None),
    "families": ("emnat_jax.families", None),
    "load": ("emnat_jax.em.load", "load"),
    "losses": ("emnat_jax.losses", None),
    "run": ("emnat_jax.em.driver", "run_config"),
}

if TYPE_CHECKING:  # for type checkers and editors
    from emnat_jax import decoding, families, losses
    from emnat_jax.config import Config
    from emnat_jax.em.driver import run_config as run
    from emnat_jax.em.load import load
    from emnat_jax.errors import UserError
    from emnat_jax.inference.model import TrainedModel, Translation


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    loaded = importlib.import_module(module)
    value = loaded if attribute is None else getattr(loaded, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
