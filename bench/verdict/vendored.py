"""Third-party files of asv's pages, put into the site so that no reader fetches anything.

asv's page names ten files on three public servers, each with its checksum. ``site/packages.toml``
says which package of npm has each, with the checksum of the package's file and its licence. A file
is taken from the first of these that has it with one of the two checksums: ``.asv/vendor``, where
everything that was fetched is kept; the packages, fetched by the ``npm`` on PATH, which runs nothing
of theirs; the address that asv names. ``MADBENCH_OFFLINE=1`` leaves ``.asv/vendor`` alone.
"""

import base64
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# waited for once a site, and only where nothing answers
TIMEOUT_S = 5.0
CLIENT_TIMEOUT_S = 60.0
ONCE = ("--fetch-retries=0", f"--fetch-timeout={TIMEOUT_S * 1000:.0f}")
TAG = re.compile(r'<(script|link)\b[^>]*?\b(?:src|href)="(https?://[^"]+)"[^>]*>(</script>)?')
PACKAGES = Path(__file__).parent / "site" / "packages.toml"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One file that the site should have."""

    place: str
    """Below ``vendor/`` in the site and below the folder where fetched files are kept."""
    checksums: tuple[str, ...]
    """``sha256-`` or ``sha512-`` and a digest in base 64; the content has one of them."""
    package: str | None = None
    path: str | None = None
    url: str | None = None

    def is_this(self, content: bytes) -> bool:
        """Whether the content is the file."""
        for checksum in self.checksums:
            kind, _, digest = checksum.partition("-")
            if base64.b64encode(hashlib.new(kind, content).digest()).decode() == digest:
                return True
        return False


@dataclass(frozen=True)
class Script:
    """One file that asv's page names."""

    tag: str
    url: str
    integrity: str
    """``sha256-`` or ``sha512-`` and the digest in base 64."""

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    @property
    def local_tag(self) -> str:
        """The tag that takes the file from the site."""
        if self.tag.startswith("<link"):
            return f'<link rel="stylesheet" href="vendor/{self.name}">'
        return f'<script src="vendor/{self.name}"></script>'


Found = Mapping[Wanted, bytes]
Fetch = Callable[[Iterable[Wanted]], Found]


def scripts(html: str) -> Iterator[Script]:
    """Everything that the page would load from another server. ValueError without a checksum."""
    for tag in TAG.finditer(html):
        integrity = re.search(r'integrity="(sha(?:256|384|512)-[^"]+)"', tag[0])
        if integrity is None:
            raise ValueError(f"{tag[2]}: no integrity in asv's page, want a checksum")
        yield Script(tag[0], tag[2], integrity[1])


@functools.cache
def packaged() -> tuple[Wanted, ...]:
    """What the packages have, licences too."""
    listed = tomllib.loads(PACKAGES.read_text(encoding="utf-8"))["package"]
    return tuple(
        Wanted(
            place=file["as"],
            checksums=("sha256-" + base64.b64encode(bytes.fromhex(file["sha256"])).decode(),),
            package=package["name"],
            path=file["path"],
        )
        for package in listed
        for file in package["files"]
    )


def wanted(html: str) -> list[Wanted]:
    """The files of asv's page, and the licences of their packages."""
    named = {script.name: script for script in scripts(html)}
    known = {file.place: file for file in packaged()}
    ours = {known[name].package for name in named if name in known}
    licences = [
        file for file in packaged() if file.package in ours and file.place.startswith("licences/")
    ]
    return [_named(script, known.get(name)) for name, script in named.items()] + licences


def vendor(html: str, cache: Path, site: Path, fetch: Fetch | None = None) -> tuple[str, list[str]]:
    """The page with its scripts taken from ``site/vendor``, and the names of those not to be had."""
    files = wanted(html)
    found = _kept(files, cache)
    if fetch is not None:
        fetched = fetch([file for file in files if file not in found])
        _write(fetched, cache)
        found = {**found, **fetched}
    _write(found, site / "vendor")
    places = {file.place for file in found}
    lacking = []
    for script in list(scripts(html)):
        if script.name in places:
            html = html.replace(script.tag, script.local_tag)
        else:
            lacking.append(script.name)
    return html, lacking


def fetcher() -> Fetch | None:
    """What fetches from packages, then from asv's addresses; None where nothing may be fetched."""
    return None if os.environ.get("MADBENCH_OFFLINE") else fetched


def fetched(files: Iterable[Wanted]) -> Found:
    """The files that a package has, and of the rest those that are found at asv's addresses."""
    files = list(files)
    found = from_packages(files)
    return {**found, **from_addresses(file for file in files if file not in found)}


def from_packages(files: Iterable[Wanted]) -> Found:
    """The files that packages of npm have; none where npm is not, or reaches no registry."""
    files = [file for file in files if file.package is not None]
    npm = shutil.which("npm")
    if npm is None or not files:
        return {}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for package in sorted({str(file.package) for file in files}):
            # pack downloads a package and runs none of its scripts
            command = [npm, "pack", "--silent", "--ignore-scripts", *ONCE, package]
            try:
                done = subprocess.run(
                    command,
                    cwd=folder,
                    capture_output=True,
                    text=True,
                    timeout=CLIENT_TIMEOUT_S,
                    check=True,
                )
            except (subprocess.SubprocessError, OSError):
                # the others would only be waited for
                break
            archive = Path(folder) / done.stdout.split()[-1]
            found |= unpacked(archive, [file for file in files if file.package == package])
    return found


def unpacked(archive: Path, files: Iterable[Wanted]) -> Found:
    """The files as a package has them, without those whose checksum is another."""
    found = {}
    with tarfile.open(archive) as package:
        for file in files:
            try:
                member = package.extractfile(f"package/{file.path}")
            except KeyError:
                continue
            content = b"" if member is None else member.read()
            if file.is_this(content):
                found[file] = content
    return found


def from_addresses(files: Iterable[Wanted]) -> Found:
    """The files that are behind their addresses, until a server is out of reach."""
    found = {}
    for file in files:
        if file.url is None:
            continue
        try:
            content = download(file.url)
        except OSError:
            # the others would only be waited for
            break
        if file.is_this(content):
            found[file] = content
    return found


def download(url: str) -> bytes:
    """The file behind an address."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        return answer.read()


def _named(script: Script, file: Wanted | None) -> Wanted:
    checksums = (script.integrity,) + (file.checksums if file else ())
    return Wanted(
        place=script.name,
        checksums=checksums,
        package=file.package if file else None,
        path=file.path if file else None,
        url=script.url,
    )


def _kept(files: Iterable[Wanted], folder: Path) -> Found:
    """Those of the files that the folder has with the right content."""
    found = {}
    for file in files:
        place = folder / file.place
        if place.is_file() and file.is_this(content := place.read_bytes()):
            found[file] = content
    return found


def _write(found: Found, folder: Path) -> None:
    for file, content in found.items():
        place = folder / file.place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
