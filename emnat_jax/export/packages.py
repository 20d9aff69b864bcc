"""The libraries that an exported model is made and run with, which the extra `export` installs."""

import importlib
from typing import Any

from emnat_jax.errors import UserError

FORMATS = ("onnx", "ctranslate2", "stablehlo")  # of an exported model


def need(package: str) -> Any:
    """The module; UserError, with what to install, where it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"exported models need the package {package.partition('.')[0]}: pip install 'emnat_jax[export]'."
        ) from error
