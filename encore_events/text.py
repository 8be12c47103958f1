"""Text of objects whose `__str__` or `__repr__` may raise: they are the program's."""

from __future__ import annotations

__all__ = ["message_of", "repr_of", "text_of"]


def text_of(value: object) -> str:
    """Return `str(value)`, or the name of its class in angle brackets if that raises."""
    try:
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001 (the program's own method: an error in it must not replace another)
        return f"<{type(value).__name__}>"


def repr_of(value: object) -> str:
    """Return `repr(value)`, or the name of its class in angle brackets if that raises."""
    try:
        return str.__str__(repr(value))
    except Exception:  # noqa: BLE001 (as above)
        return f"<{type(value).__name__}>"


def message_of(error: BaseException) -> str:
    """Return the text of an error, or the name of its class if it has none."""
    try:
        return str.__str__(str(error)) or type(error).__name__
    except Exception:  # noqa: BLE001 (as above)
        return type(error).__name__
