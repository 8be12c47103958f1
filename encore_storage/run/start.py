"""The start of Encore in a process of a program, as its `ENCORE_*` variables say."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from encore_events import BaseEvent, EventManager
from encore_events.abstract import BaseEventManager
from encore_events.errors import ManagerClosedError
from encore_events.listeners import FIRST
from encore_events.managers import follow_managers
from encore_events.once import Once
from encore_run.options import Options
from encore_run.program import DIRECTORY
from encore_run.starting import say
from encore_storage.clients.observe import observe_libraries

_once = Once()
_kept = list[object]()
"""The parts that run until the end of the process."""


def start() -> None:
    """Observe this process; the second call does nothing.

    The events go to an event manager of its own, since the program may have others; theirs are passed on to it. What
    cannot be started is one line on standard error, and the rest is. Raises OptionError.
    """
    if not _once.take():
        return
    options = Options.of(os.environ)
    manager = EventManager()
    for part in _parts(options, manager):
        try:
            _kept.append(part())
        except (OSError, ValueError, ImportError) as error:
            say(str(error))
    follow_managers(_Bridge(manager).connect)
    observe_libraries(options.observe, manager)


def _parts(options: Options, manager: EventManager) -> Iterator[Callable[[], object]]:
    """Yield functions that start what the options ask for; each imports only what it needs."""
    directory = os.environ.get(DIRECTORY, "")
    if directory and (options.summary or options.json is not None):
        yield lambda: _count(manager, directory)
    if options.log_file is not None or options.log_slow is not None:
        yield lambda: _log(options, manager)
    if options.record is not None:
        path = options.record
        yield lambda: _record(manager, path)
    if options.port is not None:
        port = options.port
        yield lambda: _serve(options, port, manager, directory)


def _count(manager: EventManager, directory: str) -> object:
    from encore_storage.run.counting import RunSummary  # noqa: PLC0415

    return RunSummary(Path(directory)).connect(manager)


def _log(options: Options, manager: EventManager) -> object:
    from encore_storage.subscribers.logs import LogSubscriber, open_logger  # noqa: PLC0415

    opened = open_logger(sys.stderr, format="console") if options.log_file is None else open_logger(options.log_file)
    logger = opened.__enter__()
    return opened, LogSubscriber(logger=logger, slow=options.log_slow).connect(manager)


def _record(manager: EventManager, path: str) -> object:
    from encore_storage.run.recording import ProcessRecorder  # noqa: PLC0415

    return ProcessRecorder(manager, Path(path))


def _serve(options: Options, port: int, manager: EventManager, directory: str) -> object:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    from encore_storage.monitoring import monitor  # noqa: PLC0415

    observed = monitor(
        manager,
        logs=False,
        port=port,
        registry=CollectorRegistry(),
        host=options.host,
        token=options.token,
        allowed_hosts=options.allowed_hosts,
        group=_group(directory),
    )
    if options.token is not None and observed.serves:
        say(f"log in with one browser, within ten minutes: {observed.new_login()}")
    return observed


def _group(directory: str) -> str:
    """Return the name of the group of processes: that of the run, or the program's own."""
    from encore_storage.processes.identity import program_identity  # noqa: PLC0415

    return Path(directory).name if directory else f"run of {program_identity()}"[:100]


class _Bridge:
    """Passes the events of the program's own event managers on to that of the run."""

    def __init__(self, manager: EventManager) -> None:
        self._manager = manager
        self._passed = threading.local()

    def connect(self, other: BaseEventManager) -> None:
        """Pass on the events of a manager, before any of its listeners can veto them."""
        if other is not self._manager:
            # Of a subclass, not its own method: the object is not complete yet.
            connect = partial(EventManager.connect, other) if isinstance(other, EventManager) else other.connect
            with suppress(ManagerClosedError):
                connect(BaseEvent, self._pass_on, priority=FIRST, weak=False)

    def _pass_on(self, event: BaseEvent) -> None:
        """Pass on an event, but once, if the program emits it with a second manager as well."""
        passed = self._passed
        latest = getattr(passed, "latest", None)
        if latest is None or latest() is not event:
            passed.latest = weakref.ref(event)
            self._manager.emit(event)
