"""Samples are seconds of one call, interleaved, dropped for outside reasons only, and never hang."""

import hashlib
import os
import threading
import time
from collections import Counter

import pytest

from ..engine import clock


@pytest.fixture
def quick(monkeypatch):
    """Samples of 2 ms, on a machine whose run queue is empty."""
    monkeypatch.setattr(clock, "SAMPLE_S", 2e-3)
    monkeypatch.setattr(clock, "_queued_ns", lambda: 0)


def spin(seconds):
    """A call that takes ``seconds`` of this thread's own CPU time, whoever else is running."""

    def call():
        end = time.thread_time_ns() + seconds * 1e9
        while time.thread_time_ns() < end:
            pass

    return call


def test_sample_is_the_seconds_of_one_call(quick):
    timings = clock.rounds({"one": spin(5e-4), "two": spin(1e-3)}, device="cpu", rounds=9)
    # a call cannot be faster than its work; other processes can only make it slower
    assert min(timings["one"].samples) >= 5e-4
    assert min(timings["two"].samples) >= 1e-3
    assert min(timings["two"].samples) == pytest.approx(1e-3, rel=0.5)
    assert timings["one"].low <= timings["one"].value <= timings["one"].high


@pytest.mark.parametrize(
    ("each", "preempted", "wanted"),
    [(3e-3, 0.0, 7), (3e-3, 0.05, 7), (1e-6, 0.05, 20_000), (1.0, 0.0, 1)],
    ids=["quiet", "preempted", "short-and-preempted", "slow"],
)
def test_enough_calls_make_a_sample_though_one_is_preempted(monkeypatch, each, preempted, wanted):
    delays = iter([preempted])
    watch = clock.CpuStopwatch()
    monkeypatch.setattr(
        watch, "seconds", lambda call, number: number * each + next(delays, 0.0), raising=True
    )
    assert watch.number(lambda: None) == pytest.approx(wanted, abs=1)


def test_every_round_times_every_call_once_in_a_changing_order(quick, monkeypatch):
    monkeypatch.setattr(clock.CpuStopwatch, "number", lambda self, call: 1)
    log = []
    calls = {name: lambda name=name: log.append(name) for name in "abc"}
    clock.rounds(calls, device="cpu", rounds=6)
    timed = log[6:]  # two warm-up calls each
    rounds = ["".join(timed[i : i + 3]) for i in range(0, 18, 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert set(Counter(each[0] for each in rounds).values()) == {2}
    assert len(set(rounds)) == 6


def test_disturbed_round_is_dropped_for_all_and_taken_again(quick, monkeypatch):
    monkeypatch.setattr(clock.CpuStopwatch, "number", lambda self, call: 1)
    verdicts = iter([None, "queued for 40%", *[None] * 40])
    monkeypatch.setattr(clock.CpuStopwatch, "disturbance", lambda self: next(verdicts))
    taken = {"a": 0, "b": 0}

    def call(name):
        taken[name] += 1

    calls = {name: lambda name=name: call(name) for name in "ab"}
    timings = clock.rounds(calls, device="cpu", rounds=10)
    assert [len(t.samples) for t in timings.values()] == [10, 10]
    assert [t.dropped for t in timings.values()] == [1, 1]
    assert timings["a"].why == "b: queued for 40%"


def test_machine_that_never_rests_gives_no_interval(quick, monkeypatch):
    monkeypatch.setattr(clock.CpuStopwatch, "disturbance", lambda self: "queued for 90%")
    timing = clock.rounds({"a": lambda: None}, device="cpu", rounds=8)["a"]
    assert timing.samples == ()
    assert timing.dropped == 16
    assert (timing.low, timing.high) == (-float("inf"), float("inf"))
    with pytest.raises(ValueError, match="no samples"):
        _ = timing.value


def test_waiting_for_a_cpu_is_noticed_and_sleeping_is_not(monkeypatch):
    waits = iter([0, 30_000_000, 30_000_000, 30_000_000])
    monkeypatch.setattr(clock, "_queued_ns", lambda: next(waits))
    watch = clock.CpuStopwatch.__new__(clock.CpuStopwatch)
    watch.seconds(lambda: time.sleep(0.05), 1)
    assert watch.disturbance() is not None
    watch.seconds(lambda: time.sleep(0.05), 1)
    assert watch.disturbance() is None


def test_scheduler_account_grows_when_two_threads_want_one_cpu():
    if (before := clock._queued_ns()) is None:
        pytest.skip("this kernel keeps no schedstat")
    # hashing releases the interpreter lock, so both threads are ready all the time
    work = threading.Thread(target=lambda: hashlib.sha256(bytes(40_000_000)).digest())
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        work.start()
        hashlib.sha256(bytes(40_000_000)).digest()
        # read while the thread lives: the account of a thread ends with it
        queued = (clock._queued_ns() or 0) - before
        work.join()
    finally:
        os.sched_setaffinity(0, cpus)
    assert queued > 5e6


def test_slow_call_raises_and_is_named(quick):
    with pytest.raises(TimeoutError, match=r"sleeper ran longer than 0.05 s"):
        clock.rounds({"sleeper": lambda: time.sleep(5)}, device="cpu", limit_s=0.05)


def test_limit_off_the_main_thread_is_refused(quick):
    caught = []

    def work():
        try:
            clock.rounds({"a": lambda: None}, device="cpu", limit_s=1.0)
        except ValueError as error:
            caught.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == ["limit_s outside the main thread, want None there"]


def test_no_round_begins_after_the_budget(quick):
    timing = clock.rounds({"a": spin(2e-3)}, device="cpu", rounds=1000, seconds=0.1)["a"]
    assert 1 <= len(timing.samples) < 200


def test_progress_counts_kept_rounds(quick):
    seen = []
    clock.rounds({"a": lambda: None}, device="cpu", rounds=3, progress=lambda *p: seen.append(p))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_unknown_device_is_refused():
    with pytest.raises(ValueError, match="device 'tpu', want cpu or cuda"):
        clock.rounds({"a": lambda: None}, device="tpu")


def test_nothing_to_time_is_nothing():
    assert clock.rounds({}, device="cpu") == {}
