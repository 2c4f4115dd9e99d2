"""Third-party scripts of asv's pages, put into the site so that no reader fetches anything.

asv's page names ten files on three public servers, each with its checksum. They are looked for in
``.asv/vendor`` under their own names, fetched into it once when the site is built, and used only
when the checksum is the one asv names. ``MADBENCH_OFFLINE=1`` fetches nothing.
"""

import base64
import hashlib
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 5.0
TAG = re.compile(r'<(script|link)\b[^>]*?\b(?:src|href)="(https?://[^"]+)"[^>]*>(</script>)?')

Fetch = Callable[[str], bytes]


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

    def is_this(self, content: bytes) -> bool:
        """Whether the content has the checksum that asv names."""
        kind, _, digest = self.integrity.partition("-")
        found = hashlib.new(kind, content).digest()
        return base64.b64encode(found).decode() == digest


def scripts(html: str) -> Iterator[Script]:
    """Everything that the page would load from another server. ValueError without a checksum."""
    for tag in TAG.finditer(html):
        integrity = re.search(r'integrity="(sha(?:256|384|512)-[^"]+)"', tag[0])
        if integrity is None:
            raise ValueError(f"{tag[2]}: no integrity in asv's page, want a checksum")
        yield Script(tag[0], tag[2], integrity[1])


def vendor(html: str, cache: Path, site: Path, fetch: Fetch | None = None) -> tuple[str, list[str]]:
    """The page with its scripts taken from ``site/vendor``, and the names of those not to be had."""
    lacking = []
    for script in list(scripts(html)):
        content = _content(script, cache, fetch)
        if content is None:
            lacking.append(script.name)
            fetch = None  # where one server is out of reach, nine more would only be waited for
            continue
        place = site / "vendor" / script.name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        html = html.replace(script.tag, script.local_tag)
    return html, lacking


def download(url: str) -> bytes:
    """The file behind an address."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        return answer.read()


def fetcher() -> Fetch | None:
    """``download``, or None where nothing may be fetched."""
    return None if os.environ.get("MADBENCH_OFFLINE") else download


def _content(script: Script, cache: Path, fetch: Fetch | None) -> bytes | None:
    file = cache / script.name
    if file.is_file() and script.is_this(content := file.read_bytes()):
        return content
    if fetch is None:
        return None
    try:
        content = fetch(script.url)
    except OSError:
        return None
    if not script.is_this(content):
        return None
    cache.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return content
