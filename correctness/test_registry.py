"""What the registry promises to whoever adds or looks for a plugin."""

import pytest

from correctness.op import names
from impl.registry import from_file, index, load, lookup, read
from suites import catalogue

IMPLS = list(index().values())


def written(folder, decorator, body="def idea(a, b, h0=None):\n    return b\n"):
    file = folder / "idea.py"
    file.write_text(f"from impl.registry import implements\n\n@{decorator}\n{body}")
    return file


@pytest.mark.parametrize("plugin", IMPLS, ids=[plugin.id for plugin in IMPLS])
def test_plugin_names_what_exists(plugin):
    assert plugin.source
    assert plugin.op in names() or (plugin.kind == "mixer" and plugin.op is None)
    assert plugin.trick is None or plugin.trick in catalogue.tricks()


def test_unknown_id_suggests_near_ones():
    with pytest.raises(ValueError, match=r"near names: scans\.kogge_stone"):
        lookup("scans.koge_stone")


def test_plugin_from_anywhere_on_disk_is_loaded(tmp_path):
    file = written(tmp_path, 'implements("linear_recurrence", source="none")')
    run = from_file(f"{file}:idea").run
    assert run is not None
    assert run(1, 2) == 2


@pytest.mark.parametrize(
    ("decorator", "complaint"),
    [
        ('implements("linear_recurrence")', "names its source"),
        (
            'implements("linear_recurrence", source="x", colour=1)',
            "unknown plugin argument 'colour'",
        ),
        ('implements("linear_recurrence", source=str(1))', "must be literals"),
    ],
)
def test_bad_declaration_is_one_clear_line(tmp_path, decorator, complaint):
    file = written(tmp_path, decorator)
    with pytest.raises(ValueError, match=complaint):
        list(read(file, "idea"))


def test_missing_package_makes_a_plugin_absent(tmp_path):
    file = written(
        tmp_path, 'implements("linear_recurrence", source="x", needs=("no_such_thing",))'
    )
    assert next(read(file, "idea")).missing() == "needs the package no_such_thing"


def test_decorated_function_is_unchanged():
    assert getattr(load("scans.sequential").run, "__name__", "") == "sequential"
