"""The client of boto3, botocore and aiobotocore: S3, DynamoDB, and any other service.

A client's class is exchanged, so that each API call is an operation from the call to its result, including everything
that botocore's own events miss: a cancelled task, an interrupt, or an error before the request.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from encore_storage.clients._botocore_calls import Calls, add_retries_above
from encore_storage.clients._botocore_errors import retries_in
from encore_storage.clients._botocore_transfers import transfers
from encore_storage.clients.client import Options
from encore_storage.clients.swapping import Swapper, options_of

_CREATORS = (("botocore.client", "ClientCreator"), ("aiobotocore.client", "AioClientCreator"))
"""The modules and classes that make all clients of a library."""


class BotocoreClient:
    """Observes clients, resources, sessions, and all clients that a library makes."""

    def __init__(self) -> None:
        self._clients = Swapper(_wrap_client, shared=False)
        self._sessions = Swapper(self._wrap_session)
        self._made: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()
        self._library: Options | None = None
        self._patched: dict[Any, tuple[Any, Any]] = {}

    def accepts(self, target: object) -> bool:
        """Return True if the target is a client, a resource or a session."""
        return _client_of(target) is not None or _session_of(target) is not None

    def observe(self, target: Any, options: Options) -> Any:
        """Observe a client, the client of a resource, or the clients that a session makes from now on."""
        session = _session_of(target)
        if session is None:
            self._clients.swap(_client_of(target), options)
        else:
            self._sessions.swap(session, options)
        return target

    def unobserve(self, target: Any) -> Any:
        """Undo `observe`, for a session also for the clients that it has made."""
        session = _session_of(target)
        if session is None:
            self._clients.restore(_client_of(target))
        else:
            self._sessions.restore(session)
            for client in self._made.pop(session, ()):
                self._clients.restore(client)
        return target

    def observe_library(self, options: Options) -> None:
        """Observe all clients that boto3, botocore and aiobotocore make from now on."""
        self._library = options
        for module, name in _CREATORS:
            if module.partition(".")[0] in sys.modules:
                creator = getattr(importlib.import_module(module), name)
                if creator not in self._patched:
                    self._patch(creator)

    def unobserve_library(self) -> None:
        """Restore the library, and the clients that it has made meanwhile."""
        library, self._library = self._library, None
        for creator, (plain, observed) in list(self._patched.items()):
            if creator.__dict__.get("create_client") is observed:  # else another library has wrapped it since
                creator.create_client = plain
                del self._patched[creator]
            for client in self._made.pop(creator, ()):
                if options_of(client) is library:
                    self._clients.restore(client)

    def _patch(self, creator: Any) -> None:
        plain = creator.create_client
        observed = self._creating(plain, lambda _: self._library, owner=creator)
        creator.create_client = observed
        self._patched[creator] = (plain, observed)

    def _wrap_session(self, cls: Any, options: Options) -> Mapping[str, Any]:
        name = "_create_client" if hasattr(cls, "_create_client") else "create_client"  # the former is aiobotocore's
        return {name: self._creating(getattr(cls, name), lambda _: options)}

    def _creating(
        self, plain: Callable[..., Any], options_now: Callable[[Any], Options | None], owner: object = None
    ) -> Callable[..., Any]:
        """Return the observed variant of a function that makes clients; `owner` is None for the methods of sessions."""

        def observe(creator: Any, client: Any) -> Any:
            options = options_now(creator)
            if options is not None:
                self._clients.swap(client, options)
                self._made.setdefault(owner or creator, weakref.WeakSet()).add(client)
            return client

        @functools.wraps(plain)
        def create(creator: Any, *args: Any, **kwargs: Any) -> Any:
            return observe(creator, plain(creator, *args, **kwargs))

        @functools.wraps(plain)
        async def create_async(creator: Any, *args: Any, **kwargs: Any) -> Any:
            return observe(creator, await plain(creator, *args, **kwargs))

        return create_async if inspect.iscoroutinefunction(plain) else create


def _client_of(target: Any) -> Any:
    """Return the client that is the target, or that a resource has; None for other objects."""
    from botocore.client import BaseClient  # noqa: PLC0415 (the target is of a library that has imported it)

    if not isinstance(target, BaseClient):
        target = getattr(getattr(target, "meta", None), "client", None)
    return target if isinstance(target, BaseClient) else None


def _session_of(target: Any) -> Any:
    """Return the session of botocore that is the target, or that a session of boto3 has; None for other objects."""
    from botocore.session import Session  # noqa: PLC0415 (as above)

    if not isinstance(target, Session):
        target = getattr(target, "_session", None)
    return target if isinstance(target, Session) else None


def _wrap_client(cls: Any, options: Options) -> Mapping[str, Any]:
    """Return the observed methods of the class of a client."""
    if inspect.iscoroutinefunction(cls._make_api_call):
        return _async_methods(cls, options)
    return {**_methods(cls, options), **transfers(cls, options)}


# These methods look the plain ones up when they are called, since tests of programs replace them.


def _methods(cls: Any, options: Options) -> Mapping[str, Any]:
    begin = Calls(options).begin

    def make_api_call(self: Any, name: str, parameters: Mapping[str, Any]) -> Any:
        call = begin(self, name, parameters)
        try:
            response = cls._make_api_call(self, name, parameters)
        except BaseException as error:
            call.fail(error)
            raise
        call.succeed(response)
        return response

    def make_request(self: Any, model: Any, request: Any, context: Mapping[str, Any]) -> Any:
        try:
            return cls._make_request(self, model, request, context)
        except Exception:
            add_retries_above(retries_in(context))  # an error without a response has them nowhere else
            raise

    return {"_make_api_call": make_api_call, "_make_request": make_request}


def _async_methods(cls: Any, options: Options) -> Mapping[str, Any]:
    begin = Calls(options).begin

    async def make_api_call(self: Any, name: str, parameters: Mapping[str, Any]) -> Any:
        call = begin(self, name, parameters)
        try:
            response = await cls._make_api_call(self, name, parameters)
        except BaseException as error:
            call.fail(error)
            raise
        call.succeed(response)
        return response

    async def make_request(self: Any, model: Any, request: Any, context: Mapping[str, Any]) -> Any:
        try:
            return await cls._make_request(self, model, request, context)
        except Exception:
            add_retries_above(retries_in(context))
            raise

    return {"_make_api_call": make_api_call, "_make_request": make_request}
