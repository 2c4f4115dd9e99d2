"""The CUDA stopwatch asks for the right things in the right order; a recorder stands in for torch."""

import contextlib
import sys
import types

import pytest

from ..engine import clock
from ..hardware import nvml


class Card:
    """NVML's view of a card whose state the test sets."""

    def __init__(self, log):
        self.log, self.reason = log, None

    def slowdown(self, share):
        self.log.append("clock")
        return self.reason


@pytest.fixture
def log():
    return []


@pytest.fixture
def card(log, monkeypatch):
    """Installs the stand-ins: every event pair is 0.4 ms apart, the L2 cache has 50 MiB."""

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("event")

        def elapsed_time(self, end):
            assert log[-1] == "synchronize"
            return 0.4

    class Buffer:
        def __init__(self, size):
            assert size == 2 * 50 * 2**20

        def zero_(self):
            log.append("flush")

    torch = types.SimpleNamespace(
        uint8="uint8",
        device=lambda name: name,
        empty=lambda size, dtype, device: Buffer(size),
        cuda=types.SimpleNamespace(
            Event=Event,
            device=lambda device: contextlib.nullcontext(),
            get_device_properties=lambda device: types.SimpleNamespace(L2_cache_size=50 * 2**20),
            synchronize=lambda device: log.append("synchronize"),
        ),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    found = Card(log)
    monkeypatch.setattr(nvml, "gpu_of_torch", lambda properties: (found, ""))
    return found


def test_every_call_finds_a_cold_cache_and_the_clock_is_read_while_it_runs(card, log):
    watch = clock.CudaStopwatch("cuda:0")
    assert watch.seconds(lambda: log.append("call"), 2) == pytest.approx(2 * 0.4e-3)
    one = ["flush", "event", "call", "event"]
    assert log == [*one, *one, "clock", "synchronize"]


def test_calls_of_a_sample_add_up_to_a_millisecond(card):
    assert clock.CudaStopwatch("cuda:0").number(lambda: None) == 3


def test_throttled_samples_are_dropped_and_counted(card, log):
    def call():
        card.reason = "power brake" if 20 < log.count("event") < 60 else None

    timing = clock.rounds({"a": call}, device="cuda:0", rounds=12)["a"]
    assert len(timing.samples) == 12
    assert timing.samples[0] == pytest.approx(0.4e-3)
    assert timing.dropped > 0
    assert timing.why == "power brake"
    assert timing.watch == "SM clock and throttle reasons"


def test_card_that_nvml_does_not_know_is_timed_and_said_to_be_unwatched(card, log, monkeypatch):
    monkeypatch.setattr(nvml, "gpu_of_torch", lambda properties: (None, "no nvidia-ml-py"))
    timing = clock.rounds({"a": lambda: None}, device="cuda", rounds=8)["a"]
    assert len(timing.samples) == 8
    assert timing.watch == "nothing: no nvidia-ml-py"
