"""The files of the page: small modules, no inline or external code, and the published chart library."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.page import screenshot
from tests.page.support import PAGE

UPLOT = {
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uPlot.esm.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""The vendored files of uPlot 1.6.32 and their SHA-256."""

OURS = sorted(path for path in PAGE.iterdir() if path.is_file())


def test_vendored_uplot_is_unchanged() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (PAGE / "vendor" / "uPlot").iterdir()}
    assert found == UPLOT


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_file_refers_to_no_other_origin(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:src|href|from|url\(|URL\()\s*=?\s*["']([^"'#]+)["']""", text)
    assert [address for address in addresses if re.match(r"/|\w+:", address)] == []


def test_page_has_no_inline_code() -> None:
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", text) == []


@pytest.mark.parametrize("path", [path for path in OURS if path.suffix == ".js"], ids=lambda path: path.name)
def test_module_is_small_and_sets_only_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text) == []


def test_screenshot_can_be_taken_again(tmp_path: Path) -> None:
    taken = tmp_path / "page.png"
    screenshot.main(seconds=1, file=taken, port=0)
    for picture in (taken, screenshot.FILE):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 300_000
