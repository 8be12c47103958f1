"""Progress events: a start, any number of steps, and one end of an operation."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from encore_events.abstract import BaseEventManager
from encore_events.default import get_event_manager
from encore_events.errors import ProgressError
from encore_events.events import BaseEvent
from encore_events.ids import new_id
from encore_events.text import message_of

__all__ = [
    "ExitState",
    "ProgressEndEvent",
    "ProgressEvent",
    "ProgressManager",
    "ProgressStartEvent",
    "ProgressStepEvent",
]

ExitState = Literal["normal", "warning", "error", "exception"]


class ProgressEvent(BaseEvent):
    """An event of an operation that takes a while.

    Attributes:
        operation_id: identifies the operation, the same in all its events.
        message: a description of the operation, for people.
    """

    operation_id: Any
    message: str


class ProgressStartEvent(ProgressEvent):
    """An operation starts.

    Attributes:
        steps: the number of steps expected, -1 if unknown.
    """

    steps: int = -1


class ProgressStepEvent(ProgressEvent):
    """An operation advances.

    Attributes:
        step: the total number of steps done.
        steps: the number of steps expected as of now, -1 if unknown.
    """

    step: int
    steps: int = -1


class ProgressEndEvent(ProgressEvent):
    """An operation ends.

    Attributes:
        exit_state: 'normal', 'warning', 'error' or 'exception'.
    """

    exit_state: ExitState


class ProgressManager:
    """Emits the start, every step and the end of one operation; a context manager that always emits the end.

    >>> from encore_events import EventManager
    >>> manager = EventManager()
    >>> _ = manager.connect(ProgressStepEvent, lambda event: print(event.message, event.step))
    >>> with ProgressManager(manager, message="counting", steps=2) as progress:
    ...     progress(1)
    ...     progress("nearly", 2)
    counting 1
    nearly 2

    Args:
        event_manager: the event manager to emit on; by default, `get_event_manager()`.
        source: the source of the events; by default, the progress manager.
        operation_id: identifies the operation; by default, a unique id.
        message: a description of the operation, for people.
        steps: the number of steps expected, -1 if unknown. May be set later, as an attribute.
        kwargs: more attributes for every event.
    """

    StartEventType: ClassVar[type[ProgressEvent]] = ProgressStartEvent
    StepEventType: ClassVar[type[ProgressEvent]] = ProgressStepEvent
    EndEventType: ClassVar[type[ProgressEvent]] = ProgressEndEvent

    _done = 0
    _started = False
    _ended = False

    def __init__(
        self,
        event_manager: BaseEventManager | None = None,
        source: object = None,
        operation_id: object = None,
        message: str = "Performing operation",
        steps: int = -1,
        **kwargs: Any,
    ) -> None:
        self.event_manager = get_event_manager() if event_manager is None else event_manager
        self.source = self if source is None else source
        self.operation_id = new_id() if operation_id is None else operation_id
        self.message = message
        self.steps = steps
        self.kwargs = kwargs
        self.StartEventType.check_names(kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.message!r}, {self._done} of {self.steps}>"

    def start(self) -> None:
        """Emit the start. Raises ProgressError if it was emitted before."""
        if self._started or self._ended:
            raise ProgressError("start", self.message)
        self._started = True
        try:
            self._emit(self.StartEventType, self.message, steps=self.steps)
        except BaseException as error:  # from a strict event manager, or an interrupt
            self.__exit__(type(error), error, None)
            raise

    def step(self, message: str | None = None, step: int | None = None) -> None:
        """Emit that `step` steps are done, by default one more. Raises ProgressError if it is not in progress."""
        if not self._started:
            raise ProgressError("step", self.message)
        self._done = self._done + 1 if step is None else step
        self._emit(self.StepEventType, self.message if message is None else message, step=self._done, steps=self.steps)

    def end(self, message: str | None = None, exit_state: ExitState = "normal") -> None:
        """Emit the end. Raises ProgressError before `start()` or after another `end()`."""
        if not self._started:
            raise ProgressError("end", self.message)
        self._started, self._ended = False, True
        self._emit(self.EndEventType, self.message if message is None else message, exit_state=exit_state)

    def __call__(self, message: str | int | None = None, step: int | None = None) -> None:
        """Take a step, after starting if need be: `progress(n)`, `progress(step=n)` or `progress('message', n)`."""
        if isinstance(message, int):
            message, step = None, message
        if not self._started and not self._ended:
            self.start()
        self.step(message, step)

    def __enter__(self) -> Self:
        """Start, unless it has started."""
        if not self._started:
            self.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """End, unless it has ended: with 'exception' and the error's message if the block raised."""
        if not self._started:
            return
        if error is None:
            self.end()
        else:
            self.end(message_of(error), "exception")

    def _emit(self, cls: type[ProgressEvent], message: str, **attributes: Any) -> None:
        if self.event_manager.has_listeners(cls):
            event = cls(self.source, operation_id=self.operation_id, message=message, **{**self.kwargs, **attributes})
            self.event_manager.emit(event)
