"""What results depend on beside the code and its options: devices, platform, versions."""

import importlib.metadata
import platform

import jax

from emnat_jax import __version__
from emnat_jax.report.record import Environment

PACKAGES = ("emnat_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "sentencepiece", "sacrebleu")


def environment() -> Environment:
    """The environment of this process; initialises JAX."""
    devices = jax.devices()
    return Environment(
        devices=f"{len(devices)} x {devices[0].device_kind}",
        platform=platform.platform(),
        python=platform.python_version(),
        versions={name: package_version(name) for name in PACKAGES},
    )


def package_version(package: str) -> str | None:
    """The version that is installed; None where none is. Of this package it is the one that runs."""
    if package == "emnat_jax":
        return __version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
