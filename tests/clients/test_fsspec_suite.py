"""The part of fsspec's own suite that is fast, on observed file systems; the rest is in the campaign."""

from __future__ import annotations

from fsspec.tests import abstract

from tests.clients.fsspec_suite import Memory


class TestMemoryCopy(Memory, abstract.AbstractCopyTests):  # type: ignore[misc]
    pass


class TestMemoryGet(Memory, abstract.AbstractGetTests):  # type: ignore[misc]
    pass


class TestMemoryPut(Memory, abstract.AbstractPutTests):  # type: ignore[misc]
    pass


class TestMemoryPipe(Memory, abstract.AbstractPipeTests):  # type: ignore[misc]
    pass


class TestMemoryOpen(Memory, abstract.AbstractOpenTests):  # type: ignore[misc]
    pass
