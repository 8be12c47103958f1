"""The signal of an event class: the registry of its listeners, with the API of blinker."""

from __future__ import annotations

import contextlib
import types
import weakref
from collections.abc import Callable, Generator, Hashable
from functools import partial
from typing import Any, NoReturn, TypeVar

import blinker
from blinker import ANY

from encore_events.conditions import Condition
from encore_events.errors import SignalError
from encore_events.events import BaseEvent
from encore_events.listeners import Listener, Receiver, check_callable, identity_of, order

__all__ = ["EventSignal"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

Admits = Callable[[str, Callable[..., object], tuple[Any, ...]], bool]
Changing = Callable[[Callable[[], T]], T]


class Receivers(dict[Hashable, Listener]):
    """The listeners of a signal at one moment, by their keys. It is never changed, but replaced by `next`."""

    next: Receivers | None = None

    def with_(self, listener: Listener) -> Receivers:
        """Return the receivers after adding a listener, in place of the one with the same key."""
        added = Receivers(self)
        added[listener.key] = listener
        return added

    def without(self, listener: Listener) -> Receivers | None:
        """Return the receivers after removing this very listener; None if it isn't there."""
        if self.get(listener.key) is not listener:
            return None
        others = Receivers(self)
        del others[listener.key]
        return others


class EventSignal(blinker.Signal):
    """The blinker signal of one event class, made by `EventManager.signal`. Emitting an event sends it.

    `connect`, `connect_via`, `connected_to` and `disconnect` are used as in blinker. A receiver is called as
    `receiver(event.source, event=event)`, also with events of subclasses, in the order of all connects. Its errors are
    isolated as those of other listeners are. A sender is the source of events.

    >>> from encore_events import BaseEvent, EventManager
    >>> manager = EventManager()
    >>> signal = manager.signal(BaseEvent)
    >>> @signal.connect_via("archive")
    ... def show(sender, event):
    ...     print("received from", sender, event.word)
    >>> manager.emit(BaseEvent("archive", word="hello"))
    received from archive hello
    >>> signal
    <EventSignal of BaseEvent: 1 listener>

    Attributes:
        cls: the event class.
    """

    def __init__(self, cls: type[BaseEvent], admits: Admits, changing: Changing[Any]) -> None:
        """Make the signal. `admits` decides on a connect or disconnect; `changing` makes a change."""
        super().__init__(f"The signal of {cls.__name__}.")
        self.cls = cls
        self._admits = admits
        self._changing = changing

    _receivers: Receivers

    @property  # type: ignore[override]  # an attribute in blinker, which sets it once
    def receivers(self) -> Receivers:
        """The listeners that are connected now, also those connected by `EventManager.connect`."""
        latest = self._receivers
        while latest.next is not None:
            latest = latest.next
        return latest

    @receivers.setter
    def receivers(self, receivers: dict[Any, Any]) -> None:
        self._receivers = Receivers(receivers)

    @property
    def listeners(self) -> list[Listener]:
        """The listeners of an event, without receivers for one sender that are connected for all senders as well."""
        receivers = self.receivers
        return [listener for listener in receivers.values() if _all_senders_key(listener) not in receivers]

    def add(self, listener: Listener) -> None:
        """Add a listener, in place of the one with the same key."""
        self._replace(lambda receivers: receivers.with_(listener))

    def remove(self, listener: Listener) -> None:
        """Remove this very listener, but not one that has replaced it."""
        self._replace(lambda receivers: receivers.without(listener))

    def has(self, listener: Listener) -> bool:
        """Return whether this very listener is connected."""
        return self.receivers.get(listener.key) is listener

    def connect(self, receiver: F, sender: Any = ANY, weak: bool = True) -> F:  # noqa: FBT001, FBT002 (blinker's)
        """Call `receiver(event.source, event=event)` with each event, or only with those whose source is `sender`.

        Args:
            receiver: the function. `emit_async` awaits a coroutine function, `emit` schedules it.
            sender: the source; a string or int is compared by `==`, others by identity. It is held weakly if possible.
            weak: whether to hold `receiver` weakly.

        Raises:
            InvalidListenerError: receiver is unusable (a TypeError).
            ManagerClosedError: the event manager is closed.
        """
        check_callable(receiver, "the sender and event=", None, event=None)
        key = _key(receiver, sender)
        where = None if sender is ANY else _From(sender, _key(receiver, ANY), self)
        listener = Receiver(self.cls, receiver, Condition(None, where), key=key, weak=weak, collected=self.remove)
        if self._admits("connect", self.connect, (receiver, sender, weak)):
            self.add(listener)
            if "receiver_connected" in vars(self):
                self.receiver_connected.send(self, receiver=receiver, sender=sender, weak=weak)
        return receiver

    def disconnect(self, receiver: Callable[..., Any], sender: Any = ANY) -> None:
        """Stop calling a receiver for the events of `sender`, or for all. Nothing happens if it isn't connected."""
        if not self._admits("disconnect", self.disconnect, (receiver, sender)):
            return
        key, identity = _key(receiver, sender), identity_of(receiver)
        for listener in self._own():
            if listener.key == key or (sender is ANY and listener.identity == identity):
                self.remove(listener)
        if "receiver_disconnected" in vars(self):
            self.receiver_disconnected.send(self, receiver=receiver, sender=sender)

    def has_receivers_for(self, sender: Any) -> bool:
        """Return whether a listener may accept events from `sender`. Filters are ignored."""
        return any(True for _ in self.receivers_for(sender))

    def receivers_for(self, sender: Any) -> Generator[Callable[..., Any], None, None]:
        """Yield the functions of the listeners that may accept events from `sender`. Filters are ignored."""
        for listener in sorted(self.listeners, key=order):
            where = listener.condition.where
            if (func := listener.func) is not None and (not isinstance(where, _From) or where.accepts(sender)):
                yield func

    def send(self, *_: object, **__: object) -> NoReturn:
        """Refuse: only the event manager sends. Raises SignalError."""
        raise SignalError("send", self.cls, "emit an event with EventManager.emit()")

    async def send_async(self, *_: object, **__: object) -> NoReturn:
        """Refuse, as `send` does."""
        raise SignalError("send_async", self.cls, "emit an event with EventManager.emit_async()")

    def muted(self) -> NoReturn:
        """Refuse, as `send` does."""
        raise SignalError("muted", self.cls, "use EventManager.disabled() with the event class")

    def __repr__(self) -> str:
        count = len(self.receivers)
        return f"<EventSignal of {self.cls.__name__}: {count} listener{'' if count == 1 else 's'}>"

    def _own(self) -> list[Receiver]:
        return [listener for listener in self.receivers.values() if isinstance(listener, Receiver)]

    def _clear_state(self) -> None:
        self._replace(lambda receivers: Receivers() if receivers else None)

    def _replace(self, change: Callable[[Receivers], Receivers | None]) -> None:
        """Replace the receivers by what `change` makes of them; it returns None to change nothing.

        Which of several replacements is `next` is decided by `dict.setdefault`, which no other thread, signal or
        garbage collection can divide; the others start again.
        """
        while (changed := change(latest := self.receivers)) is not None:
            if self._changing(partial(vars(latest).setdefault, "next", changed)) is changed:
                self._receivers = self.receivers  # without what was removed, which is freed now
                return


class _From:
    """The predicate of a receiver that wants the events of one sender."""

    def __init__(self, sender: object, any_key: Hashable, signal: EventSignal) -> None:
        """Make the predicate; `any_key` is the key of the same receiver when connected for all senders."""
        self._identity = _sender_identity(sender)
        self.any_key = any_key
        self._signal = signal
        self._held: object = sender
        if not isinstance(sender, types.MethodType):  # each look-up makes a new object: a reference would die at once
            with contextlib.suppress(TypeError):
                self._held = weakref.ref(sender, self._forget_sender)

    def accepts(self, sender: object) -> bool:
        """Return whether it is the sender."""
        return _sender_identity(sender) == self._identity

    def __call__(self, event: BaseEvent) -> bool:
        return self.accepts(event.source)

    def _forget_sender(self, _: object) -> None:
        signal = self._signal
        for listener in signal.receivers.values():
            if listener.condition.where is self:
                signal.remove(listener)


def _all_senders_key(listener: Listener) -> Hashable:
    """Return the key of the same receiver for all senders, if the listener is one for a single sender."""
    where = listener.condition.where
    return where.any_key if isinstance(where, _From) else None


def _sender_identity(sender: object) -> Hashable:
    is_value = isinstance(sender, (str, int))
    return is_value, sender if is_value else identity_of(sender)  # type: ignore[arg-type]  # works for any object


def _key(receiver: Callable[..., object], sender: object) -> Hashable:
    return identity_of(receiver), _sender_identity(sender)
