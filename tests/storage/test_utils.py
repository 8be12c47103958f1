"""The storage utilities have the names, signatures and defaults of their specification."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from encore_events import ProgressManager
from encore_storage import events, utils

SIGNATURES = {
    "BufferIteratorIO": "(iterator)",
    "BufferIteratorIO.read": "(self, buffer_size=1048576)",
    "buffer_iterator": "(filelike, buffer_size=1048576, progress=None, max_bytes=None)",
    "tee": "(filelike, n=2, buffer_size=1048576)",
    "DummyTransactionContext": "(store)",
    "SimpleTransactionContext.begin": "(self)",
    "SimpleTransactionContext.commit": "(self)",
    "SimpleTransactionContext.rollback": "(self)",
    "StoreProgressManager": (
        "(event_manager=None, source=None, operation_id=None, message='Performing operation', steps=-1, **kwargs)"
    ),
}


def bare_signature(name: str) -> str:
    """Return the signature of a utility without its annotations."""
    target: Any = utils
    for part in name.split("."):
        target = getattr(target, part)
    signature = inspect.signature(target)
    parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return str(inspect.Signature(parameters))


@pytest.mark.parametrize(("name", "signature"), SIGNATURES.items(), ids=SIGNATURES)
def test_signature_matches_specification(name: str, signature: str) -> None:
    assert bare_signature(name) == signature


def test_transaction_context_requires_only_a_store() -> None:
    first, *others = inspect.signature(utils.SimpleTransactionContext).parameters.values()

    assert first.name == "store"
    assert first.default is first.empty
    assert all(parameter.default is not parameter.empty for parameter in others)


def test_utils_exports_the_six_specified_names() -> None:
    assert utils.__all__ == [
        "BufferIteratorIO",
        "DummyTransactionContext",
        "SimpleTransactionContext",
        "StoreProgressManager",
        "buffer_iterator",
        "tee",
    ]


def test_progress_manager_emits_store_events() -> None:
    manager = utils.StoreProgressManager

    assert issubclass(manager, ProgressManager)
    assert manager.StartEventType is events.StoreProgressStartEvent
    assert manager.StepEventType is events.StoreProgressStepEvent
    assert manager.EndEventType is events.StoreProgressEndEvent
