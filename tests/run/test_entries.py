"""Operations as text in cells."""

from __future__ import annotations

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from encore_storage.run.entries import CELLS, cells_of, entry_of, shortened

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)


@given(st.fixed_dictionaries(dict.fromkeys(("store", "key", "error", "message", "operation"), ANY_TEXT)))
def test_any_text_fits_and_is_no_nan(entry: dict[str, str]) -> None:
    cells = cells_of(entry | {"duration": 1.5, "bytes": 2**63})

    assert len(cells) == CELLS
    assert all(map(math.isfinite, cells))
    assert not math.isnan(sum(cells))
    found = entry_of(cells)
    assert found is not None
    assert (found["duration"], found["bytes"]) == (1.5, 2**63)
    for name, text in entry.items():
        beginning, _, ending = found[name].partition("…") if found[name] != text else (text, "", "")
        assert text.startswith(beginning)
        assert text.endswith(ending)


def test_short_text_is_kept_whole() -> None:
    entry = {"key": "reports/q3\x1b[31m\udc80 ü", "duration": 0.25}

    assert entry_of(cells_of(entry)) == entry


def test_numbers_that_json_lacks_are_null() -> None:
    assert entry_of(cells_of({"duration": math.inf})) == {"duration": None}


def test_entry_that_cannot_fit_is_none() -> None:
    assert entry_of(cells_of({"bytes": 10**600})) is None


def test_broken_cells_are_no_entry() -> None:
    assert entry_of(struct.unpack("64d", b'{"key": "a' + bytes(502))) is None
    assert entry_of(struct.unpack("64d", b"[1]" + bytes(509))) is None


@given(ANY_TEXT, st.integers(1, 50))
def test_shortened_text_has_at_most_that_length(text: str, length: int) -> None:
    made = shortened(text, length)

    assert len(made) == min(len(text), length)
