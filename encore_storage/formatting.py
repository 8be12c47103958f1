"""Durations, sizes and names as people read them."""

from __future__ import annotations


def format_duration(seconds: float) -> str:
    """Format a duration in a suitable unit.

    >>> format_duration(0.00042), format_duration(0.25), format_duration(75)
    ('420 µs', '250 ms', '75.0 s')
    """
    if seconds < 0.001:  # noqa: PLR2004 (a millisecond)
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s"


def format_bytes(count: float) -> str:
    """Format a number of bytes in a suitable decimal unit.

    >>> format_bytes(512), format_bytes(1_500), format_bytes(999_960)
    ('512 B', '1.5 kB', '1.0 MB')
    """
    if count < 1000:  # noqa: PLR2004 (a kilobyte)
        return f"{count:.0f} B"
    number, unit = count, ""
    for unit in ("kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"):  # noqa: B007 (used after the loop)
        number /= 1000
        if number < 999.95:  # noqa: PLR2004 (more would be shown as 1000.0)
            break
    return f"{number:.1f} {unit}"


def printable(text: str) -> str:
    r"""Escape all characters that are not printable, so that the text is one line and has no terminal codes.

    >>> print(printable("a\nb\x1b[2J"))
    a\nb\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
