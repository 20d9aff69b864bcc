"""EM training of autoregressive teachers and non-autoregressive students, in JAX."""

__version__ = "0.1.0"
