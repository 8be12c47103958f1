"""A web application that serves events, metrics and a live page."""

from encore_storage.server.app import create_app
from encore_storage.server.feed import EventFeed

__all__ = ["EventFeed", "create_app"]
