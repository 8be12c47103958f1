"""What is told of errors: their words, whatever a program's own methods do."""

from __future__ import annotations

from typing import Any

from encore_storage.errors import error_type_of
from encore_storage.redaction import errno_of, system_words


def text_of(value: object) -> str:
    """What `str` says of the value, or the name of its class where that fails."""
    try:
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001 (a program's own method; what it raises must keep no event from being told)
        return f"<{type(value).__name__}>"


def told_error(error: BaseException, *, words: bool = True) -> dict[str, Any]:
    """The type of the error, its words, and the word that metrics have for it: None for what is no Exception.

    Without words, what it says is left out, and what the system says of its number is told instead.
    """
    told: dict[str, Any] = {"type": type(error).__name__}
    number = errno_of(error)
    if words:
        told["message"] = text_of(error)
    elif number is not None:
        told["message"] = system_words(error)
    told["error_type"] = error_type_of(error) if isinstance(error, Exception) else None
    if number is not None:
        told["errno"] = number
    return told
