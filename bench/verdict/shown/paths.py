"""How files, ids and numbers are written on the site, whichever machine publishes it."""

from pathlib import Path

from impl import registry

from .. import claims


def base(plugin: str) -> str:
    """The id without the settings behind it."""
    return plugin.partition("(")[0]


def ours(plugin: registry.Plugin) -> bool:
    """Whether the plugin stands in this project, and not in another that brings its own."""
    return plugin.file.is_relative_to(claims.ROOT)


def file_of(plugin: registry.Plugin) -> str:
    """The path from the root of the project; of a plugin from elsewhere only the name."""
    return from_root(plugin.file) if ours(plugin) else plugin.file.name


def from_root(file: Path) -> str:
    """A path of this project, the same in every checkout."""
    return file.relative_to(claims.ROOT).as_posix()
