"""Every implementation against every check: one test a plugin and promise."""

import pytest

from correctness.contract import Outcome, results_of
from correctness.promises import CHECKS
from impl.registry import index, load

IMPLS = [plugin for plugin in index().values() if plugin.kind == "impl"]
CASES = [
    pytest.param(plugin.id, check, id=f"{plugin.id}-{check.name}")
    for plugin in IMPLS
    for check in CHECKS
]


@pytest.mark.parametrize(("plugin_id", "check"), CASES)
def test_keeps_its_promise(plugin_id, check, device):
    plugin = load(plugin_id) if index()[plugin_id].missing() is None else index()[plugin_id]
    found = list(results_of(check, plugin, device))
    wrong = [result for result in found if result.outcome is Outcome.WRONG]
    assert not wrong, "\n".join(map(str, wrong))
    if all(result.outcome is not Outcome.OK for result in found):
        pytest.skip(f"{found[0].outcome}: {found[0].reason}")


@pytest.mark.parametrize("plugin", IMPLS, ids=[plugin.id for plugin in IMPLS])
def test_excuses_name_checks(plugin):
    excused = {name.partition("@")[0] for name in plugin.excuses}
    assert excused <= {check.name for check in CHECKS}
