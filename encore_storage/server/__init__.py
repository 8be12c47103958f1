"""A web application that serves events, metrics and a live page."""

from typing import TYPE_CHECKING

from encore_events.lazy import lazy_names

if TYPE_CHECKING:
    from encore_storage.server.app import create_app
    from encore_storage.server.feed import EventFeed
else:
    __getattr__, __dir__ = lazy_names(__name__, {"app": ("create_app",), "feed": ("EventFeed",)})

__all__ = ["EventFeed", "create_app"]
