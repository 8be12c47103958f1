"""Programs of others that run code with workers of their own: gunicorn, uvicorn, celery, pytest, gevent."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes.programs import counts_of, free_port
from tests.run.programs import SECONDS, Program, expected, variables

WSGI = """
import os
from work import work
work(1)

def app(environ, start_response):
    work(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""

ASGI = """
import os
from work import work
work(1)

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    work(1)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
