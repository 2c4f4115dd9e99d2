"""The scripts of asv's pages come from where they should, or are said to be missing."""

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

import asv
import pytest

from bench.verdict import vendored
from bench.verdict.vendored import Wanted

GOOD, EVIL = b"good", b"evil"


def checksum(content: bytes) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode()


def page_with(content: bytes) -> str:
    return f'<script src="https://example.org/a.js" integrity="{checksum(content)}"></script>'


def asv_page() -> str:
    return (Path(asv.__file__).parent / "www" / "index.html").read_text(encoding="utf-8")


def always(content: bytes) -> vendored.Fetch:
    def fetch(files: Iterable[Wanted]) -> vendored.Found:
        return {file: content for file in files if file.is_this(content)}

    return fetch


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client that packs what is in the folder that is returned."""
    packed = tmp_path / "package"
    packed.mkdir()
    client = tmp_path / "bin" / "npm"
    client.parent.mkdir()
    client.write_text(
        f"#!/bin/sh\n[ -n \"$(ls '{packed}')\" ] || exit 1\n"
        f"tar -C '{tmp_path}' -czf it.tgz package && echo it.tgz\n"
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}{os.pathsep}{os.environ['PATH']}")
    return packed


def in_a_package(content: bytes) -> Wanted:
    return Wanted(place="a.js", checksums=(checksum(content),), package="a@1.0.0", path="a.js")


def test_a_script_is_fetched_once_and_taken_from_the_site(tmp_path: Path) -> None:
    cache, html = tmp_path / "cache", page_with(GOOD)
    for fetch in (always(GOOD), None):
        made, lacking = vendored.vendor(html, cache, tmp_path, fetch)
        assert (made, lacking) == ('<script src="vendor/a.js"></script>', [])
    assert (tmp_path / "vendor" / "a.js").read_bytes() == GOOD


def test_what_was_kept_with_another_checksum_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_bytes(EVIL)
    made, lacking = vendored.vendor(page_with(GOOD), tmp_path, tmp_path, None)
    assert lacking == ["a.js"] and not (tmp_path / "vendor").exists()
    assert "vendor/" not in made


def test_a_script_without_a_checksum_is_refused() -> None:
    with pytest.raises(ValueError, match="want a checksum"):
        list(vendored.scripts('<script src="https://example.org/a.js"></script>'))


def test_a_file_comes_out_of_its_package(npm: Path) -> None:
    (npm / "a.js").write_bytes(GOOD)
    file = in_a_package(GOOD)
    assert vendored.from_packages([file]) == {file: GOOD}


def test_a_package_with_another_file_is_not_used(npm: Path) -> None:
    file = in_a_package(GOOD)
    (npm / "a.js").write_bytes(EVIL)
    assert vendored.from_packages([file]) == {}
    (npm / "a.js").unlink()
    (npm / "b.js").write_bytes(GOOD)
    assert vendored.from_packages([file]) == {}


def test_nothing_is_written_outside_by_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "it.tgz"
    with tarfile.open(archive, "w:gz") as package:
        for name in ("../out.js", "package/a.js"):
            member = tarfile.TarInfo(name)
            member.size = len(GOOD)
            package.addfile(member, io.BytesIO(GOOD))
    file = in_a_package(GOOD)
    assert vendored.unpacked(archive, [file]) == {file: GOOD}
    assert [one.name for one in tmp_path.iterdir()] == ["it.tgz"]


def test_a_package_is_preferred_and_an_address_is_the_next(
    npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(url: str) -> bytes:
        asked.append(url)
        return GOOD

    monkeypatch.setattr(vendored, "download", download)
    file = Wanted(
        place="a.js", checksums=(checksum(GOOD),), package="a@1.0.0", path="a.js", url="address"
    )
    assert vendored.fetched([file]) == {file: GOOD} and asked == ["address"]
    (npm / "a.js").write_bytes(GOOD)
    assert vendored.fetched([file]) == {file: GOOD} and asked == ["address"]


def test_an_address_with_another_file_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    file = Wanted(place="a.js", checksums=(checksum(GOOD),), url="address")
    monkeypatch.setattr(vendored, "download", lambda url: EVIL)
    assert vendored.from_addresses([file]) == {}


def test_a_server_out_of_reach_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str) -> bytes:
        asked.append(url)
        raise OSError("no route")

    monkeypatch.setattr(vendored, "download", download)
    files = [Wanted(place=name, checksums=(checksum(GOOD),), url=name) for name in "ab"]
    assert vendored.from_addresses(files) == {} and asked == ["a"]


def test_offline_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MADBENCH_OFFLINE", raising=False)
    assert vendored.fetcher() is not None
    monkeypatch.setenv("MADBENCH_OFFLINE", "1")
    assert vendored.fetcher() is None


def test_every_script_of_this_asv_is_in_a_package() -> None:
    named = {script.name: script for script in vendored.scripts(asv_page())}
    files = {file.place: file for file in vendored.wanted(asv_page())}
    assert len(named) == 10
    assert all(files[name].package for name in named)
    # the checksum of asv is one of those of each file, and the only other is the package's
    assert all(script.integrity in files[name].checksums for name, script in named.items())
    same = {name for name in named if len(set(files[name].checksums)) == 1}
    assert same == {
        "jquery-3.3.1.min.js",
        "bootstrap.min.js",
        "bootstrap.min.css",
        "jquery.flot.orderBars.js",
    }


def test_a_licence_comes_with_what_it_covers() -> None:
    files = vendored.wanted(asv_page())
    licensed = {file.package for file in files if file.place.startswith("licences/")}
    # whose licence is the head of its only script
    assert {file.package for file in files} - licensed == {"flot-orderbars@1.0.0"}
    assert vendored.wanted(page_with(GOOD))[0].place == "a.js"
    assert len(vendored.wanted(page_with(GOOD))) == 1
