"""The processes of one run: start-up, broadcast from the first, and what happens when one is lost.

JAX's own runtime connects them, and its key-value store carries the messages of `Processes`. Only the
arrays of compiled steps travel between the devices directly.
"""

import contextlib
import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from emnat_jax.errors import InUse, UserError
from emnat_jax.report.convert import dumps, loads
from emnat_jax.runtime.watchdog import Store, Watchdog

_Record = TypeVar("_Record")
Lock: TypeAlias = Callable[[Any], contextlib.AbstractContextManager]  # of a folder
POLL_SECONDS = 5.0
NOTE_SECONDS = 60.0  # between two lines about one wait


class _Peers(NamedTuple):
    """How a process reaches the others: their key-value store, and the watchdog over them."""

    store: Store
    watchdog: Watchdog

    def announce(self, key: str, make: Callable[[], Any]) -> dict[str, Any]:
        """Publishes what `make` returns, or its UserError, under `key`."""
        try:
            answer = {"value": make()}
        except UserError as error:
            answer = {"error": str(error)}
        text = json.dumps(answer)
        self.store.set(key, text)
        return json.loads(text)

    def wait(self, key: str, name: str, process: int) -> Any:
        """What `process` published under `key`; waits without a limit: the watchdog ends it if it is lost."""
        for number in itertools.count(1):
            text = self.store.get(key, POLL_SECONDS)
            if text is not None:
                return json.loads(text)
            if number * POLL_SECONDS % NOTE_SECONDS == 0:
                self.watchdog.print_line(f"waits at {name!r} for {self.watchdog.name(process)}")


class Processes:
    """The processes of a run, of which this is number `index`.

    All must call the same methods in the same order. With one process (the default) every method is trivial.
    """

    def __init__(self, index: int = 0, count: int = 1, store: Store | None = None):
        self.index, self.count = index, count
        self._numbers = itertools.count()
        self._peers: _Peers | None = None
        if store is not None:
            self._peers = _Peers(store, Watchdog(index, count, store, socket.gethostname()))
            self._peers.watchdog.start()

    @property
    def is_first(self) -> bool:
        """Whether this one decides, writes and reports for all."""
        return self.index == 0

    def enter(self, stage: str) -> None:
        """Notes which stage this process is in, for messages about it."""
        if self._peers is not None:
            self._peers.watchdog.enter(stage)

    def broadcast(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns (JSON) on the first process, for all of them; the others do not call it.

        A UserError in `make` is raised on all.
        """
        if self._peers is None:
            return make()
        key = self._key(name)
        answer = self._peers.announce(key, make) if self.is_first else self._peers.wait(key, name, 0)
        if "error" in answer:
            raise UserError(answer["error"])
        return answer["value"]

    def broadcast_record(self, name: str, cls: type[_Record], make: Callable[[], _Record]) -> _Record:
        """As `broadcast`, where `make` returns a record of the type `cls` (`report/convert.py`)."""
        if self.count == 1:
            return make()
        return loads(cls, self.broadcast(name, lambda: dumps(make())), name, "start all processes again.")

    @contextlib.contextmanager
    def hold(self, folder: os.PathLike | str, lock: Lock) -> Iterator[None]:
        """Locks a folder for all processes: the first one acquires it; InUse is raised on all."""
        with contextlib.ExitStack() as held:

            def enter() -> str | None:
                try:
                    held.enter_context(lock(folder))
                except InUse as error:
                    return str(error)
                return None

            if busy := self.broadcast(f"{os.fspath(folder)}: lock", enter):
                raise InUse(busy)
            yield

    def gather(self, name: str, value: Any) -> list[Any]:
        """The value (JSON) of every process, in their order."""
        return [value] if self._peers is None else self.exchange(self._key(name), value)

    def new_key(self, name: str) -> str:
        """A key for `exchange` and `publish` that nothing else in the run has, whatever has this name too."""
        return f"{next(self._numbers)}/{name}"

    def exchange(self, key: str, value: Any) -> list[Any]:
        """As `gather`, under a `new_key`: for other threads, in any order."""
        if self._peers is None:
            return [value]
        self.publish(key, value)
        return [self._peers.wait(f"{key}/{process}", key, process) for process in range(self.count)]

    def publish(self, key: str, value: Any) -> None:
        """Gives this process's value to an `exchange` without waiting for the others."""
        if self._peers is not None:
            self._peers.store.set(f"{key}/{self.index}", json.dumps(value))

    def all_reach(self, place: str, seconds: float) -> bool:
        """Whether all processes come to this place, which has its name once in the run, in so many seconds.

        An error that one process alone has met leaves the others at some step that they wait for it in.
        """
        if self._peers is None:
            return True
        self.publish(place, None)
        until = time.monotonic() + seconds
        return all(
            self._peers.store.get(f"{place}/{process}", max(until - time.monotonic(), 0.1)) is not None
            for process in range(self.count)
        )

    def set_flag(self, key: str, text: str) -> None:
        """Sets a flag for all processes; `text` says what for."""
        if self._peers is not None:
            self._peers.store.set(f"{key}/flag", text)

    def flag_is_set(self, key: str) -> bool:
        """Whether any process has set this flag."""
        return self._peers is not None and bool(self._peers.store.all(key))

    def leave(self, status: int, message: str = "") -> None:
        """Leaves the run at its end; with another status than 0 it ends this process."""
        if self._peers is None:
            return
        if status == 0:
            import jax

            self.gather("the end", None)
            self._peers.watchdog.stop()
            jax.distributed.shutdown()
            return
        with contextlib.suppress(Exception):  # whatever the runtime raises where the first process has gone
            self._peers.watchdog.fail(status, message)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)  # JAX would wait minutes for processes that have failed

    def _key(self, name: str) -> str:
        self.enter(name)
        return self.new_key(name)


def start(
    *,
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    on_platform: bool = False,
) -> Processes:
    """Connects the processes of a run; this one alone when nothing asks for more.

    Address, number and index come from the arguments, else from the environment (JAX_COORDINATOR_ADDRESS,
    JAX_NUM_PROCESSES, JAX_PROCESS_ID), else, with `on_platform`, from Cloud TPU, GKE or Slurm. Raises
    UserError where some of them are missing, or where the processes cannot be connected.
    """
    address = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    count, index = _number(count, "JAX_NUM_PROCESSES"), _number(index, "JAX_PROCESS_ID")
    if not on_platform:
        given = {"--coordinator": address, "--processes": count, "--process": index}
        missing = [name for name, value in given.items() if value is None]
        if len(missing) == len(given):
            return Processes()
        if missing:
            raise UserError(
                f"{', '.join(missing)} missing: give --coordinator=HOST:PORT, --processes=N and "
                "--process=I to every process, or set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
                "JAX_PROCESS_ID."
            )
    return _connect(address, count, index, None if on_platform else "deactivate")


def _number(value: int | None, variable: str) -> int | None:
    text = os.environ.get(variable) if value is None else str(value)
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise UserError(f"{variable}={text[:20]!r}: use a whole number, 0 or more.")
    return number


def _connect(address: str | None, count: int | None, index: int | None, method: str | None) -> Processes:
    import jax

    # SIGTERM is ours (runtime/preemption.py): JAX's own service would swallow it between trainings.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(address, count, index, cluster_detection_method=method)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {index} of {count} cannot join the run at {address}: {str(error).splitlines()[0]} "
            "Start all processes with the same address and number, and each with its own index; the first "
            "listens at the address."
        ) from error
    if jax.process_count() == 1:
        return Processes()
    return Processes(jax.process_index(), jax.process_count(), _RuntimeStore())


class _RuntimeStore:
    """The key-value store of JAX's distributed runtime.

    JAX has no public name for its client; this class is the only one that uses it.
    """

    def __init__(self) -> None:
        from jax._src.distributed import global_state

        self._client: Any = global_state.client

    def set(self, name: str, text: str) -> None:
        self._client.key_value_set(f"emnat/{name}", text, allow_overwrite=True)

    def get(self, name: str, seconds: float) -> str | None:
        import jax

        try:
            return self._client.blocking_key_value_get(f"emnat/{name}", round(seconds * 1000))
        except jax.errors.JaxRuntimeError:
            time.sleep(1.0)  # not there in time, or the store is gone: the watchdog finds out
            return None

    def all(self, folder: str) -> dict[str, str]:
        found = self._client.key_value_dir_get(f"emnat/{folder}/")
        return {name.rsplit("/", 1)[-1]: text for name, text in found}
