"""Packaging. The ranges resolve on Python 3.11 to 3.13 with jax 0.10 to 0.12."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "emnat_jax" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    name="emnat_jax",
    version=VERSION,
    description="EM training of autoregressive teachers and non-autoregressive students, in JAX",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.11",
    packages=find_packages(include=["emnat_jax", "emnat_jax.*"]),
    package_data={"emnat_jax.data": ["demo/*.gz", "demo/ATTRIBUTION.txt"]},
    install_requires=[
        "jax>=0.10.2,<0.13",
        "flax>=0.12.8,<0.13",
        "optax>=0.2.8,<0.3",
        "orbax-checkpoint>=0.12.8,<0.13",
        "ml-collections>=1.1,<2",
        "sentencepiece>=0.2.2,<0.3",
        "sacrebleu>=2.6,<3",
        "numpy>=2.2,<3",
        "scipy>=1.14,<2",
        "tensorflow-datasets>=4.9.10,<5",
        "importlib-resources>=6",  # tensorflow-datasets imports it and does not declare it
        "protobuf>=5",
        "google-crc32c>=1.6,<2",
        "jaxtyping>=0.3,<0.4",
        "etils[epath]>=1.10",
        "tensorboardX>=2.6,<3",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "pytest-cov>=6",
            "hypothesis>=6.100",
            "chex>=0.1.92,<0.2",
            "beartype>=0.20",
            "hypothesis>=6.100",
            "nbclient>=0.10",  # docs/tour.ipynb is executed
            "ipykernel>=6.29",
        ],
        "dev": [  # formatter and linter by minor version: what they ask for changes with it
            "ruff>=0.17,<0.18",
            "mypy>=2.4,<3",
            "pdoc>=16,<17",
            "pre-commit>=4",
            "pre-commit-hooks>=6",
        ],
        "tf": ["tensorflow-cpu>=2.21,<3"],
        "tpu": ["jax[tpu]>=0.10.2,<0.13; sys_platform == 'linux' and platform_machine == 'x86_64'"],
        "ja": ["sacrebleu[ja]>=2.6,<3"],  # the BLEU tokenizer of Japanese
        "ko": ["sacrebleu[ko]>=2.6,<3"],  # of Korean
        "export": ["onnx>=1.19,<2", "onnxruntime>=1.23,<2", "ctranslate2>=4.8,<5"],  # students, teachers
        "gcs": ["gcsfs>=2024.2"],  # workdirs under gs://
        "cuda": ["jax[cuda13]>=0.10.2,<0.13"],
    },
    entry_points={"console_scripts": ["emnat=emnat_jax.cli.main:main"]},
)
