"""Set before anything touches a backend: four CPU devices, quick compilation, strict promotion."""

import gc
import os
import tempfile
from importlib import metadata
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
# The suite compiles hundreds of small programs and runs each a few times: no effort on fast code.
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if metadata.version("jax").startswith(
    "0.10."
):  # later ones abort at this flag; it halves the time to compile
    QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=4 {QUICK}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "emnat_jax-test-cache"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# Tracing makes millions of objects that live on; looking through them again and again takes a sixth of a run.
gc.set_threshold(100_000, 20, 20)
