"""The mutation score counts edits that are noticed: no edit is not, a planted one is, and a mixer's too."""

import pytest

from correctness.mutation import Edit, main, survives, unedited

SECONDS = 60.0
LAYERED = "transitions.dense.scan"
"""Its file holds an implementation and a mixer."""


def planted(old: str, new: str) -> str | None:
    """Why the file of ``LAYERED`` is noticed with ``new`` in the place of ``old``."""
    whole = unedited(LAYERED)
    assert old in whole.text
    text = whole.text.replace(old, new)
    return survives(Edit(whole.file, 0, f"{old}: {new}", text), LAYERED, SECONDS)


def test_a_file_that_nobody_edited_is_not_noticed() -> None:
    assert survives(unedited(LAYERED), LAYERED, SECONDS) is None


def test_an_edit_of_the_implementation_is_noticed_by_its_contract() -> None:
    assert "forward" in (
        planted("return matrix_scan(a, b, h0)", "return matrix_scan(a, -b, h0)") or ""
    )


def test_an_edit_of_the_mixer_is_noticed_by_its_laws() -> None:
    assert "steps" in (planted("clamp_min(1e-6), b, h0)", "clamp_min(1e-6), b, None)") or "")


def test_a_plugin_that_is_noticed_as_it_stands_has_no_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = unedited(LAYERED).text.replace("axis_sizes(scan, a, b, h0)", "raise RuntimeError")
    edit = Edit(unedited(LAYERED).file, 0, "broken", broken)
    monkeypatch.setattr("correctness.mutation.unedited", lambda _: edit)
    with pytest.raises(ValueError, match="noticed as it stands"):
        main([LAYERED])
