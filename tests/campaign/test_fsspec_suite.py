"""fsspec's own suite, on observed file systems; ENCORE_PLAIN=1 runs it without observing."""

from __future__ import annotations

from fsspec.tests import abstract

from tests.clients.fsspec_suite import Cache, Directory, Local


class TestLocalCopy(Local, abstract.AbstractCopyTests):  # type: ignore[misc]
    pass


class TestLocalGet(Local, abstract.AbstractGetTests):  # type: ignore[misc]
    pass


class TestLocalPut(Local, abstract.AbstractPutTests):  # type: ignore[misc]
    pass


class TestLocalPipe(Local, abstract.AbstractPipeTests):  # type: ignore[misc]
    pass


class TestLocalOpen(Local, abstract.AbstractOpenTests):  # type: ignore[misc]
    pass


class TestDirectoryGet(Directory, abstract.AbstractGetTests):  # type: ignore[misc]
    pass


class TestDirectoryPut(Directory, abstract.AbstractPutTests):  # type: ignore[misc]
    pass


class TestDirectoryCopy(Directory, abstract.AbstractCopyTests):  # type: ignore[misc]
    pass


class TestCacheGet(Cache, abstract.AbstractGetTests):  # type: ignore[misc]
    pass


class TestCachePut(Cache, abstract.AbstractPutTests):  # type: ignore[misc]
    pass


class TestCacheCopy(Cache, abstract.AbstractCopyTests):  # type: ignore[misc]
    pass
