"""Joules are the counter's difference over the calls made, or there are none."""

import time

import pytest

from ..hardware import energy


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(energy, "SECONDS", 0.1)
    monkeypatch.setattr(energy, "BATCH_S", 0.01)


def test_energy_of_one_call_is_power_times_its_time():
    def hundred_watts():
        return 100.0 * time.perf_counter()

    found = energy.repeated(lambda: time.sleep(0.005), hundred_watts, lambda: None)
    assert found.watts == pytest.approx(100.0, rel=0.05)
    assert found.joules >= 100.0 * 0.005
    assert found.joules * found.calls >= 100.0 * energy.SECONDS


@pytest.mark.parametrize(
    ("counter", "wish"),
    [(lambda: None, "gives no energy counter"), (lambda: 5.0, r"moved by 0\.0 J")],
    ids=["absent", "stuck"],
)
def test_counter_that_says_nothing_is_refused(counter, wish):
    with pytest.raises(RuntimeError, match=wish):
        energy.repeated(lambda: None, counter, lambda: None)
