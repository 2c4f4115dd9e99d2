"""The scripts of asv's pages come from where they should, or are said to be missing."""

import base64
import hashlib
from pathlib import Path

import pytest

from bench.verdict import vendored


def page_with(script: bytes) -> str:
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    return f'<script src="https://example.org/a.js" integrity="sha256-{digest}"></script>'


def test_a_script_is_fetched_once_and_taken_from_the_site(tmp_path: Path) -> None:
    cache, html = tmp_path / "cache", page_with(b"good")
    for fetch in (lambda url: b"good", None):
        made, lacking = vendored.vendor(html, cache, tmp_path, fetch)
        assert (made, lacking) == ('<script src="vendor/a.js"></script>', [])
    assert (tmp_path / "vendor" / "a.js").read_bytes() == b"good"


def test_a_script_with_another_checksum_is_not_used(tmp_path: Path) -> None:
    made, lacking = vendored.vendor(page_with(b"good"), tmp_path, tmp_path, lambda url: b"evil")
    assert lacking == ["a.js"] and not (tmp_path / "vendor").exists()
    assert "vendor/" not in made


def test_a_script_without_a_checksum_is_refused() -> None:
    with pytest.raises(ValueError, match="want a checksum"):
        list(vendored.scripts('<script src="https://example.org/a.js"></script>'))
