"""Descriptors that a forked child gives up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encore_storage.processes.descriptors import put_on_null


def test_number_stays_on_the_null_device() -> None:
    number, other = os.pipe()
    put_on_null(number)

    assert os.path.samestat(os.fstat(number), Path(os.devnull).stat())
    os.close(number)
    os.close(other)


def test_number_is_closed_if_there_are_no_more_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("Too many open files")

    number, other = os.pipe()
    with monkeypatch.context() as patch:  # not for longer, since pytest uses it too
        patch.setattr(os, "dup2", refuse)
        put_on_null(number)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    os.close(other)
