"""The processes that read one text together, and what each of them takes of it."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from emnat_jax.errors import UserError
from emnat_jax.runtime.processes import Processes


@dataclasses.dataclass(frozen=True)
class Readers:
    """Those processes of a run that have the files of the text; the first process is always one of them."""

    processes: Processes = dataclasses.field(default_factory=Processes)
    index: int | None = 0  # of this process among them; None: it has no files, and waits for the others
    count: int = 1

    def ranges(self, size: int, end: int | None) -> Iterator[range]:
        """The lines that this process reads, `size` at a time in turn with the others, to line `end`."""
        for begin in itertools.count((self.index or 0) * size, self.count * size):
            if end is not None and begin >= end:
                return
            yield range(begin, begin + size if end is None else min(begin + size, end))

    def gather(self, name: str, make: Callable[[], Any]) -> list[Any]:
        """What `make` returns (JSON) in each of the readers, in their order.

        A UserError is raised on all processes once every reader is done: that of the first one which has any.
        """
        if self.processes.count == 1:
            return [make()]
        answer: dict[str, Any] = {}
        self.processes.enter(name)
        if self.index is not None:
            try:
                answer = {"value": make()}
            except UserError as error:
                answer = {"error": str(error)}
        found = self.processes.gather(name, answer)
        for one in found:
            if "error" in one:
                raise UserError(one["error"])
        return [one["value"] for one in found if "value" in one]


def find_readers(processes: Processes, require_text: Callable[[], Any]) -> Readers:
    """The processes in which `require_text` raises no UserError; where it does in the first, all raise it."""
    if processes.count == 1:
        require_text()
        return Readers()

    def complaint() -> str | None:
        try:
            require_text()
        except UserError as error:
            return str(error)
        return None

    complaints = processes.gather("prepare: who has the text", complaint())
    if complaints[0] is not None:
        raise UserError(complaints[0])
    own = [process for process, text in enumerate(complaints) if text is None]
    index = own.index(processes.index) if processes.index in own else None
    return Readers(processes, index, len(own))
