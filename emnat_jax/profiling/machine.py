"""What timings were taken on."""

from collections.abc import Iterable

from emnat_jax.profiling.system_names import JAX
from emnat_jax.report.timings import Machine
from emnat_jax.runtime.cores import available_cores, cpu_model
from emnat_jax.runtime.environment import environment, package_version

PACKAGES = ("emnat_jax", "jax", "jaxlib", "flax", "sentencepiece", "sacrebleu")  # of these that may run
RUNTIMES = {"onnx": "onnxruntime", "ctranslate2": "ctranslate2", "stablehlo": "jax"}  # backend -> package


def this_machine(backends: Iterable[str]) -> Machine:
    """This machine, with the versions of what runs these backends."""
    here = environment()
    versions = {name: here.versions[name] for name in PACKAGES}
    used = [RUNTIMES[backend] for backend in dict.fromkeys(backends) if backend != JAX]
    return Machine(
        devices=here.devices,
        cores=available_cores(),
        cpu=cpu_model(),
        platform=here.platform,
        python=here.python,
        versions=versions | {name: package_version(name) for name in used},
    )
