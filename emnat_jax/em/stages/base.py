"""What every kind of stage says of itself.

A stage says where its output lies and which outputs of other stages it reads. Of the configuration it gets
its `options` and nothing else, so that their hash (`em/signature.py`) covers all that its result depends on.
"""

import abc
import dataclasses
from typing import Any, ClassVar, Generic, TypeVar

from etils import epath

from emnat_jax.artifacts import paths
from emnat_jax.artifacts.manifest import is_finished
from emnat_jax.config import Config
from emnat_jax.em.context import Context
from emnat_jax.em.stages.programs import Program, Target

Options = TypeVar("Options")  # a frozen dataclass


@dataclasses.dataclass(frozen=True)
class Stage(abc.ABC, Generic[Options]):
    """One step of the plan. Paths are relative to the workdir."""

    output: str  # the folder (or file) whose manifest (or presence) says that it is finished
    round: int | None  # None: it belongs to no round

    kind: ClassVar[str]
    checks_itself: ClassVar[bool] = False  # run again, it looks whether it is still finished
    may_end_rounds: ClassVar[bool] = False  # a stop rule looks at what it made

    @abc.abstractmethod
    def inputs(self) -> dict[str, str]:
        """What it reads, by name: outputs of other stages."""

    @abc.abstractmethod
    def options(self, config: Config) -> Options:
        """The part of the configuration that its result depends on, and all of it that `run` gets."""

    def conditions(self, config: Config) -> dict[str, Any]:
        """What else two runs must have alike to share its result, as JSON; a resume may change it.

        Such are the places of files, whose text a resumed run has read before.
        """
        return {}

    @abc.abstractmethod
    def run(self, options: Options, context: Context) -> None:
        """Makes the output, or goes on where a run before stopped."""

    def programs(self, options: Options, target: Target) -> list[Program]:
        """The training, decoding and scoring programs that it runs, at the widest bucket."""
        return []

    def parts(self) -> list[str]:
        """Folders and files that it makes; the one that says "finished" comes last."""
        return [self.output]

    def fingerprints(self) -> dict[str, str]:
        """Names in its manifest's fingerprints -> the sets and models whose content hashes they are."""
        return {}

    def keeps_fingerprints_of(self) -> str | None:
        """The set whose fingerprints its own manifest repeats, beside those of `fingerprints`."""
        return None

    def damage(self, workdir: epath.Path) -> str | None:
        """Why its finished output has to be made again, where running it does that; None where it is whole.

        Of other damages the loading of the output tells. UserError where running it would not help.
        """
        return None

    def is_finished(self, workdir: epath.Path) -> bool:
        """Whether its manifest is there; loading verifies it."""
        return is_finished(workdir / self.output)


def maker_of(path: str) -> str:
    """The output of the stage that makes `path`: the splits are one stage's."""
    return paths.DATA if path.startswith(f"{paths.DATA}/") else path
