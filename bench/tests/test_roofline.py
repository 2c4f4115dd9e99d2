"""Bounds follow from figures that have a source, and measured ceilings are what was measured."""

import ctypes
import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ..binary.occupancy import occupancy
from ..engine import clock
from ..hardware import roofline

GPUS = [card for card in roofline.cards().values() if card.sms]


@pytest.mark.parametrize("card", GPUS, ids=lambda card: card.key)
def test_every_figure_has_its_source(card):
    for figure in ("tflops", "bandwidth_gb_s", "sms", "boost_mhz", "l2_mib", "limits"):
        assert len(card.source[figure]) > 10, figure


@pytest.mark.parametrize("card", GPUS, ids=lambda card: card.key)
def test_peak_on_plain_cores_is_lanes_times_clock(card):
    # 128 lanes of fp32 an SM, 64 on Turing and on the A100; two operations each; sheets round
    lanes = 64 if card.compute_capability in ("7.5", "8.0") else 128
    derived = card.sms * lanes * 2 * card.boost_mhz * 1e6
    assert card.tflops["fp32"] * 1e12 == pytest.approx(derived, rel=0.01)


@pytest.mark.parametrize("card", GPUS, ids=lambda card: card.key)
def test_dense_peaks_keep_the_ratios_of_the_matrix_cores(card):
    peaks = card.tflops
    assert peaks["int8"] == pytest.approx(2 * peaks["fp16"], rel=0.01)
    if "bf16" in peaks:
        assert peaks["bf16"] == peaks["fp16"]
        assert peaks["tf32"] == pytest.approx(peaks["fp16"] / 2, rel=0.01)


def test_a_near_name_is_another_card():
    assert roofline.card_named("NVIDIA H200") is roofline.card("h200")
    for other in ("NVIDIA H200 NVL", "NVIDIA H100 PCIe", "NVIDIA L40S", "NVIDIA A100-SXM4-40GB"):
        assert roofline.card_named(other) is None


def test_bound_is_the_longer_of_moving_and_doing():
    moving = roofline.bound("h200", bytes=4.8e9, flops=1e9, dtype="bfloat16")
    assert (moving.seconds, moving.term) == (pytest.approx(1e-3), "bandwidth")
    doing = roofline.bound("h200", bytes=1e6, flops=989e9, dtype="bf16")
    assert (doing.seconds, doing.term) == (pytest.approx(1e-3), "compute")
    assert doing.origin == "data sheet"
    assert doing.efficiency(2e-3) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("gpu", "dtype", "wish"),
    [
        ("h300", "fp32", "no card 'h300' in suites/gpus.toml, want one of cpu, t4"),
        ("cpu", "fp32", "cpu has no data-sheet ceilings"),
        ("t4", "bfloat16", "no data sheet peak for bf16, want one of fp16"),
    ],
)
def test_what_is_not_known_is_refused(gpu, dtype, wish):
    with pytest.raises(ValueError, match=re.escape(wish)):
        roofline.bound(gpu, bytes=1, flops=1, dtype=dtype)


def test_impossible_figures_are_refused():
    with pytest.raises(ValueError, match="neither below 0"):
        roofline.bound("t4", bytes=-1, flops=0, dtype="fp32")
    with pytest.raises(ValueError, match="want a positive time"):
        roofline.bound("t4", bytes=1, flops=0, dtype="fp32").efficiency(0.0)


def test_calibration_is_bytes_and_flops_over_the_fastest_sample(monkeypatch):
    pytest.importorskip("torch")
    seconds = {"1048576": (0.02, 0.01), "fp32": (0.05, 0.04)}
    monkeypatch.setattr(
        clock, "rounds", lambda calls, **_: {name: timing(*seconds[name]) for name in calls}
    )
    monkeypatch.setitem(roofline.COPIES, "cpu", (2**20,))
    monkeypatch.setitem(roofline.OPERANDS, "cpu", ("fp32",))
    found = roofline.calibrate("cpu").ceilings
    assert found.origin == "measured"
    assert found.bytes_per_s == pytest.approx(2**20 / 0.01)
    assert found.flops_per_s == {"fp32": pytest.approx(2 * 1024**3 / 0.04)}
    used = roofline.bound(found, bytes=2**20, flops=0, dtype="float32")
    assert used.seconds == pytest.approx(0.01)


def timing(*samples):
    return clock.Timing(
        samples=samples, dropped=0, why="", number=1, low=0, high=1, watch="nothing"
    )


def test_the_bandwidth_is_that_of_a_copy_no_larger_and_of_the_faster_of_two():
    found = roofline.Ceilings(
        origin="measured",
        bytes_per_s=2e9,
        flops_per_s={},
        copies={100: 8e9, 1000: 9e9, 10000: 2e9},
    )
    assert [found.bandwidth(bytes) for bytes in (1, 100, 999)] == [9e9, 9e9, 9e9]
    assert [found.bandwidth(bytes) for bytes in (9999, 10000, 10**6)] == [9e9, 2e9, 2e9]
    assert roofline.ceilings("h200").bandwidth(1) == 4.8e12
    # what is moved again and again may come from the cache that holds it
    again = roofline.bound(found, bytes=9e9, flops=0, dtype="fp32", spread=100)
    assert again.seconds == pytest.approx(1.0)


def test_calibration_of_this_cpu_is_plausible(monkeypatch):
    torch = pytest.importorskip("torch")
    # another process may hold the CPU: what is asked here is the arithmetic, not the figure
    monkeypatch.setattr(clock, "_queued_ns", lambda: 0)
    monkeypatch.setitem(roofline.SIDE, "cpu", 256)
    monkeypatch.setitem(roofline.COPIES, "cpu", (2**20, 2**22))
    found = roofline.calibrate("cpu", rounds=3)
    assert {len(samples) for samples in (*found.copies.values(), *found.products.values())} == {3}
    assert all(1e8 < rate < 1e13 for rate in found.ceilings.copies.values())
    assert 1e8 < found.ceilings.flops_per_s["fp32"] < 1e14
    assert torch.backends.cuda.matmul.allow_tf32 is False


def test_busy_machine_is_not_calibrated(monkeypatch):
    pytest.importorskip("torch")
    empty = clock.Timing(
        samples=(), dropped=18, why="copy: queued for 50%", number=1, low=0, high=1, watch=""
    )
    monkeypatch.setattr(clock, "rounds", lambda calls, **_: dict.fromkeys(calls, empty))
    monkeypatch.setitem(roofline.COPIES, "cpu", (2**20,))
    with pytest.raises(RuntimeError, match="no undisturbed sample of 1048576: copy: queued"):
        roofline.calibrate("cpu")


def test_blocks_that_stop_being_resident_say_why():
    h200 = roofline.card("h200")
    assert occupancy(h200, registers=32, threads=128, shared=0).share == 1.0
    full = occupancy(h200, registers=128, threads=128, shared=100 * 1024)
    assert (full.blocks, full.limits) == (2, ("shared",))
    assert occupancy(h200, registers=255, threads=256, shared=0).limits == ("registers",)
    assert occupancy(h200, registers=32, threads=128, shared=228 * 1024).blocks == 0
    with pytest.raises(ValueError, match="2048 threads a block, want 1 to 1024"):
        occupancy(h200, registers=32, threads=2048, shared=0)


CALCULATOR = r"""
#include <climits>
#include "cuda_occupancy.h"
extern "C" int blocks(int major, int minor, int threads_sm, int sms, int shared_sm, int shared_block,
                      int reserved, int registers, int threads, int shared) {
  cudaOccDeviceProp device{};
  device.computeMajor = major; device.computeMinor = minor;
  device.maxThreadsPerBlock = 1024; device.maxThreadsPerMultiprocessor = threads_sm;
  device.regsPerBlock = 65536; device.regsPerMultiprocessor = 65536; device.warpSize = 32;
  device.sharedMemPerBlock = 49152; device.sharedMemPerMultiprocessor = shared_sm;
  device.numSms = sms; device.sharedMemPerBlockOptin = shared_block;
  device.reservedSharedMemPerBlock = reserved;
  cudaOccFuncAttributes kernel{};
  kernel.maxThreadsPerBlock = INT_MAX; kernel.numRegs = registers;
  kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
  kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  kernel.maxDynamicSharedSizeBytes = shared_block; kernel.numBlockBarriers = 1;
  cudaOccDeviceState state{};
  state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
  cudaOccResult found{};
  int failed = cudaOccMaxActiveBlocksPerMultiprocessor(&found, &device, &kernel, &state, threads,
                                                       shared);
  return failed ? -failed : found.activeBlocksPerMultiprocessor;
}
"""


@pytest.fixture(scope="module")
def calculator(tmp_path_factory):
    """NVIDIA's calculator, from the header that triton ships."""
    triton = pytest.importorskip("triton")
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    include = Path(triton.__file__).parent / "backends" / "nvidia" / "include"
    library = tmp_path_factory.mktemp("calculator") / "calculator.so"
    subprocess.run(
        ["g++", "-w", "-shared", "-fPIC", "-I", include, "-x", "c++", "-", "-o", library],
        input=CALCULATOR,
        text=True,
        check=True,
    )
    return ctypes.CDLL(str(library)).blocks


@pytest.mark.parametrize("card", GPUS, ids=lambda card: card.key)
def test_occupancy_is_that_of_nvidias_calculator(card, calculator):
    cases = itertools.product(
        (16, 32, 40, 64, 96, 128, 168, 255),
        (32, 64, 128, 256, 384, 512, 1024),
        (0, 1, 4096, 16384, 40960, 65536, 98328, 166912, 232448),
    )
    for registers, threads, shared in cases:
        theirs = calculator(
            card.target // 10,
            card.target % 10,
            card.threads_sm,
            card.sms,
            card.smem_sm_kib * 1024,
            card.smem_block_kib * 1024,
            1024 if card.target >= 80 else 0,
            registers,
            threads,
            shared,
        )
        ours = occupancy(card, registers=registers, threads=threads, shared=shared).blocks
        assert ours == theirs, (registers, threads, shared)
