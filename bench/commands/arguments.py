"""What arguments name: a plugin, a device, one of several names; ValueError for what is not there."""

import contextlib
import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impl.registry import Plugin


def loaded_plugin(plugin_id: str) -> "Plugin":
    """The plugin, imported. ValueError for an unknown id or a module that raises."""
    from impl import registry

    if ".py:" not in plugin_id:
        plugin = registry.lookup(plugin_id)
        if plugin.missing():
            return plugin
    try:
        return registry.load(plugin_id)
    except ValueError:
        raise
    except Exception as error:  # whatever a plugin's import raises
        reason = f"its import raises {type(error).__name__}: {error}"
        raise ValueError(f"{plugin_id}: {reason}") from error


def device_of(machine: str | None) -> str | None:
    """The device behind ``--machine``: ``cpu``, ``cuda``, or the card or machine that is here."""
    if machine is None:
        return None
    from ..hardware.machine import record

    if machine in ("cpu", "cuda"):
        record(machine)  # says why when there is no GPU
        return machine
    for device in ("cpu", "cuda"):
        with contextlib.suppress(ValueError):
            here = record(device)
            if machine in (here.name, here.kind):
                return device
    raise ValueError(f"machine {machine!r} is not here, want cpu, cuda or {record('cpu').name}")


def want_one_of(name: str, known: Any, what: str) -> None:
    """ValueError with near names when ``name`` is not in ``known``."""
    if name not in known:
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
        hint = f"; near names: {', '.join(near)}" if near else ""
        raise ValueError(f"no {what} is called {name!r}{hint}")
