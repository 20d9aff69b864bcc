"""The identity of arrays: one hash over all of them, the same on every mesh."""

import hashlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def fingerprint(tree: Any) -> str:
    """SHA-256 over path, dtype, shape and bytes of every leaf, in order of their paths.

    The same on every mesh. All processes of a run must call it together.
    """
    digest = hashlib.sha256()
    leaves = [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]
    names, arrays = zip(*sorted(leaves, key=lambda pair: pair[0]), strict=True) if leaves else ((), ())
    for name, array in zip(names, _on_host(arrays), strict=True):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return digest.hexdigest()


def _on_host(arrays: tuple) -> list[np.ndarray]:
    """Whole arrays in host memory, gathered from the other processes where they hold a part."""
    if all(not isinstance(a, jax.Array) or a.is_fully_addressable or a.is_fully_replicated for a in arrays):
        return [np.asarray(array) for array in jax.device_get(arrays)]
    return [np.asarray(multihost_utils.process_allgather(array, tiled=True)) for array in arrays]
