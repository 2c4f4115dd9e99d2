"""Samples are seconds of one call, interleaved, dropped for outside reasons only, and never hang."""

import hashlib
import itertools
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


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_every_round_times_every_call_once_in_a_fair_order(quick, monkeypatch, names):
    monkeypatch.setattr(clock.CpuStopwatch, "number", lambda self, call: 1)
    monkeypatch.setattr(clock.CpuStopwatch, "disturbance", lambda self: None)
    log = []
    calls = {name: lambda name=name: log.append(name) for name in names}
    size, count = len(names), 2 * len(names)
    clock.rounds(calls, device="cpu", rounds=count)
    timed = log[2 * size :]  # two warm-up calls each
    rounds = ["".join(timed[i : i + size]) for i in range(0, count * size, size)]
    assert all(sorted(each) == list(names) for each in rounds)
    for place in range(size):
        assert set(Counter(each[place] for each in rounds).values()) == {2}, place
    # whoever runs after another also runs before it, as often
    pairs = Counter((x, y) for each in rounds for x, y in itertools.combinations(each, 2))
    assert set(pairs.values()) == {size}


def disturbed(monkeypatch, verdicts):
    """A machine that reports ``verdicts`` on one sample after the other, then rests."""
    monkeypatch.setattr(clock.CpuStopwatch, "number", lambda self, call: 1)
    reports = iter(verdicts)
    monkeypatch.setattr(clock.CpuStopwatch, "disturbance", lambda self: next(reports, None))


def test_disturbed_sample_is_dropped_and_taken_again(quick, monkeypatch):
    disturbed(monkeypatch, [None, "queued for 40%"])
    log = []
    calls = {name: lambda name=name: log.append(name) for name in "ab"}
    timings = clock.rounds(calls, device="cpu", rounds=10)
    assert [len(t.samples) for t in timings.values()] == [10, 10]
    assert (timings["a"].dropped, timings["b"].dropped) == (0, 1)
    assert timings["b"].why == "queued for 40%"
    # after two warm-up calls each: one more b, then the next round
    assert "".join(log[4:9]) == "abbba"


def test_round_without_a_clean_sample_is_void_for_every_call(quick, monkeypatch):
    disturbed(monkeypatch, [None, *["queued for 40%"] * (1 + clock.RETRIES)])
    values = iter(range(1000))
    monkeypatch.setattr(
        clock.CpuStopwatch, "seconds", lambda self, call, number: float(next(values))
    )
    timings = clock.rounds({"a": list, "b": list}, device="cpu", rounds=8)
    # sample 0 of a was clean, and goes with the samples 1 to 4 of b
    assert min(timings["a"].samples + timings["b"].samples) == 5.0
    assert [len(t.samples) for t in timings.values()] == [8, 8]
    assert timings["b"].dropped == 4


def test_machine_that_never_rests_gives_no_interval(quick, monkeypatch):
    monkeypatch.setattr(clock.CpuStopwatch, "disturbance", lambda self: "queued for 90%")
    timing = clock.rounds({"a": lambda: None}, device="cpu", rounds=8)["a"]
    assert timing.samples == ()
    assert timing.dropped == 16 * (1 + clock.RETRIES)
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
