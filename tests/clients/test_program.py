"""The place in a program that calls a library, and the error that leaves it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_storage.clients.program import error_in_flight, place

greenlet = pytest.importorskip("greenlet")
ROOT = Path(__file__).parents[2]


def line() -> int:
    return sys._getframe(1).f_lineno


def test_place_is_a_line_of_the_program() -> None:
    assert (place(), place(0), place(10**6)) == (f"tests/clients/test_program.py:{line()}",) * 3


def test_place_is_outside_of_the_standard_library() -> None:
    with contextlib.ExitStack() as stack:
        places = list[str | None]()
        stack.callback(lambda: None)
        stack.callback(places.append, contextlib.nullcontext(place()).__enter__())

    assert places[0] == f"tests/clients/test_program.py:{line() - 2}"


def test_place_in_a_greenlet_may_be_outside_of_it() -> None:
    assert greenlet.greenlet(place).switch() == f"tests/clients/test_program.py:{line()}"


def test_place_of_a_program_on_the_command_line_is_a_string() -> None:
    command = [sys.executable, "-c", "from encore_storage.clients.program import place\nprint(place())"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "<string>:2\n"


def test_place_outside_of_the_path_has_the_last_folder(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    path = tmp_path / "jobs" / "nightly.py"
    found: dict[str, str] = {}
    exec(compile("found['at'] = place()", str(path), "exec"), {"place": place, "found": found})

    assert found["at"] == "jobs/nightly.py:1"


def test_there_is_no_error_without_one() -> None:
    assert error_in_flight() is None
    assert greenlet.greenlet(error_in_flight).switch() is None


def test_error_being_handled_is_in_flight() -> None:
    with contextlib.suppress(ValueError):
        try:
            raise ValueError
        finally:
            assert isinstance(error_in_flight(), ValueError)


class Leaving:
    """A block that looks for the error in a greenlet, as SQLAlchemy's async engines do."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.found = error_in_flight()


@pytest.mark.parametrize("error", [ValueError(), None])
def test_error_of_an_exit_in_a_greenlet_is_in_flight(error: Exception | None) -> None:
    leaving = Leaving()
    greenlet.greenlet(leaving.__exit__).switch(type(error), error, None)

    assert leaving.found is None  # the program's own block: not of a library


@contextlib.contextmanager
def block(found: list[BaseException | None]) -> Iterator[None]:
    try:
        yield
    finally:
        found.append(error_in_flight())


def test_error_that_leaves_a_block_is_in_flight() -> None:
    found = list[BaseException | None]()
    with contextlib.suppress(KeyError), block(found):
        raise KeyError
    with block(found):
        pass

    assert [type(error) for error in found] == [KeyError, type(None)]
