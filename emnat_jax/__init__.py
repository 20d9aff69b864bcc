"""EM training of autoregressive teachers and non-autoregressive students, in JAX.

    import emnat_jax as em

    student = em.load("runs/quickstart")
    student.translate(["Wo ist der Bahnhof?"])

| name | is |
| --- | --- |
| `load(path, role, round)` | opens a trained model of a workdir |
| `TrainedModel` | what it returns: `translate`, `n_best`, `score`, `alternatives` |
| `VerifiedModel` | what it returns with decoder="verified": a teacher that checks the drafts of a student |
| `Translator` | what an exported model is too: `translate`, and the rest where it can |
| `Translation`, `Choice` | what these return: a text with its log-probability; one position of an output |
| `LongLines` | what becomes of lines that are too long for a model, and which they were |
| `run(config, workdir, log)` | runs or resumes all EM rounds, as `emnat em` does, and returns the `Report` |
| `read_report(workdir)`, `Report` | what is in report.json, as a record |
| `read_dataset(folder)`, `Row` | the rows of a set of a workdir: sources, targets, their scores |
| `Config`, `config` | every option; the dataclasses that it is made of, and the tables that it names |
| `families`, `losses`, `decoding` | the array code below |
| `types` | what that takes and gives: `Batch`, `Hypotheses`, `Mean`; the special ids |
| `UserError` | what is raised for a mistake in input, options or files; its text says what to do |

This is what is public, and it stays; what else the package holds may change. Importing the package is light:
JAX is imported when something is used that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Choice",
    "Config",
    "LongLines",
    "Report",
    "Row",
    "TrainedModel",
    "Translation",
    "Translator",
    "UserError",
    "VerifiedModel",
    "__version__",
    "config",
    "decoding",
    "families",
    "load",
    "losses",
    "read_dataset",
    "read_report",
    "run",
    "types",
]

# Public name -> (module, its name there); None: the module itself.
_PUBLIC: dict[str, tuple[str, str | None]] = {
    "Choice": ("emnat_jax.inference.alternatives", "Choice"),
    "Config": ("emnat_jax.config", "Config"),
    "LongLines": ("emnat_jax.inference.long_lines", "LongLines"),
    "Report": ("emnat_jax.report.record", "Report"),
    "Row": ("emnat_jax.artifacts.records", "Row"),
    "TrainedModel": ("emnat_jax.inference.model", "TrainedModel"),
    "Translation": ("emnat_jax.inference.translator", "Translation"),
    "Translator": ("emnat_jax.inference.translator", "Translator"),
    "UserError": ("emnat_jax.errors", "UserError"),
    "VerifiedModel": ("emnat_jax.inference.verified", "VerifiedModel"),
    "config": ("emnat_jax.config", None),
    "decoding": ("emnat_jax.decoding", None),
    "families": ("emnat_jax.families", None),
    "load": ("emnat_jax.em.load", "load"),
    "losses": ("emnat_jax.losses", None),
    "read_dataset": ("emnat_jax.artifacts.dataset", "read_dataset"),
    "read_report": ("emnat_jax.em.results", "read_report"),
    "run": ("emnat_jax.em.driver", "run_config"),
    "types": ("emnat_jax.types", None),
}

if TYPE_CHECKING:  # for type checkers and editors
    from emnat_jax import config, decoding, families, losses, types
    from emnat_jax.artifacts.dataset import read_dataset
    from emnat_jax.artifacts.records import Row
    from emnat_jax.config import Config
    from emnat_jax.em.driver import run_config as run
    from emnat_jax.em.load import load
    from emnat_jax.em.results import read_report
    from emnat_jax.errors import UserError
    from emnat_jax.inference.alternatives import Choice
    from emnat_jax.inference.long_lines import LongLines
    from emnat_jax.inference.model import TrainedModel
    from emnat_jax.inference.translator import Translation, Translator
    from emnat_jax.inference.verified import VerifiedModel
    from emnat_jax.report.record import Report


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
