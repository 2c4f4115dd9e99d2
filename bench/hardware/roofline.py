"""Lower bounds on time: what the card of ``suites/gpus.toml``, or the machine measured, allows.

    seconds >= max(bytes / bandwidth, flops / peak(dtype))        efficiency = bound / measured

With compulsory bytes it is the time that no implementation on this card can beat; with the bytes a
kernel really moves, the time that this kernel cannot. Data-sheet ceilings are never reached: where
``calibrate`` has measured a copy and a matrix product in the same run, those are the ceilings, and
an efficiency says which kind it was taken against.
"""

import contextlib
import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ..engine import clock

CARDS = Path(__file__).parents[2] / "suites" / "gpus.toml"

ALIASES = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8",
    "float8_e5m2": "fp8",
}
"""torch's names of operand types, as ``gpus.toml`` calls them."""
COPIED = 512 * 2**20
"""Bytes that the copy of a calibration reads and writes together: beyond any cache."""
SMALLEST_COPY = 2**20
"""Bytes below which a copy measures the cost of calling it."""
SIDE = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices of a calibration, enough to hide their traffic."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One entry of ``suites/gpus.toml``; for ``cpu`` every figure is zero, hence absent."""

    key: str
    names: tuple[str, ...]
    """What torch calls the card."""
    compute_capability: str = ""
    sms: int = 0
    boost_mhz: int = 0
    bandwidth_gb_s: float = 0.0
    l2_mib: int = 0
    smem_sm_kib: int = 0
    smem_block_kib: int = 0
    threads_sm: int = 0
    blocks_sm: int = 0
    registers_sm: int = 0
    registers_thread: int = 0
    tflops: Mapping[str, float]
    """Dense peaks, 10^12 operations a second, by operand type."""
    source: Mapping[str, str]

    @property
    def target(self) -> int:
        """The compute capability as compilers write it: 90."""
        return int(self.compute_capability.replace(".", ""))


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What a machine can do at best: printed on a data sheet, or measured just now."""

    origin: Literal["data sheet", "measured"]
    bytes_per_s: float
    flops_per_s: Mapping[str, float]
    """By operand type, ``fp32`` ..."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Seconds that cannot be beaten, and the term that says so."""

    seconds: float
    term: Literal["bandwidth", "compute"]
    origin: Literal["data sheet", "measured"]

    def efficiency(self, measured: float) -> float:
        """Bound / ``measured`` seconds; above 1, bytes were overcounted or came from a cache."""
        if measured <= 0:
            raise ValueError(f"{measured} s measured, want a positive time")
        return self.seconds / measured


@functools.cache
def cards() -> Mapping[str, Card]:
    """The entries of ``suites/gpus.toml`` by key; ``cpu`` is one of them."""
    entries = tomllib.loads(CARDS.read_text())
    return MappingProxyType({key: _card(key, entry) for key, entry in entries.items()})


def card(key: str) -> Card:
    """The card called ``key``. ValueError lists the known ones."""
    if key not in cards():
        raise ValueError(f"no card {key!r} in suites/gpus.toml, want one of {', '.join(cards())}")
    return cards()[key]


def card_named(name: str) -> Card | None:
    """The card that torch calls ``name``, or None: a near name is a different card."""
    return next((card for card in cards().values() if name in card.names), None)


def ceilings(key: str) -> Ceilings:
    """Data-sheet ceilings of the card. ValueError for ``cpu``, which has none."""
    found = card(key)
    if not found.bandwidth_gb_s:
        raise ValueError(f"{key} has no data-sheet ceilings, want those that calibrate() measures")
    return Ceilings(
        origin="data sheet",
        bytes_per_s=found.bandwidth_gb_s * 1e9,
        flops_per_s={dtype: peak * 1e12 for dtype, peak in found.tflops.items()},
    )


def bound(gpu: str | Ceilings, bytes: float, flops: float, dtype: str) -> Bound:
    """The longer of moving ``bytes`` and doing ``flops`` on operands of ``dtype``.

    ``gpu`` is a key of ``gpus.toml`` or measured ceilings. ValueError when the type has no peak
    there and ``flops`` is not 0.
    """
    limits = ceilings(gpu) if isinstance(gpu, str) else gpu
    if bytes < 0 or flops < 0:
        raise ValueError(f"{bytes} bytes and {flops} flops, want neither below 0")
    operand = ALIASES.get(dtype, dtype)
    if flops and operand not in limits.flops_per_s:
        known = ", ".join(limits.flops_per_s)
        raise ValueError(f"no {limits.origin} peak for {operand}, want one of {known}")
    moving = bytes / limits.bytes_per_s
    doing = flops / limits.flops_per_s[operand] if flops else 0.0
    return Bound(
        seconds=max(moving, doing),
        term="bandwidth" if moving >= doing else "compute",
        origin=limits.origin,
    )


def calibrate(
    device: str,
    *,
    dtypes: Sequence[str] | None = None,
    bytes: int | None = None,
    rounds: int = 9,
) -> Ceilings:
    """Ceilings of the machine in hand: the fastest of ``rounds`` copies and matrix products.

    The copy counts each byte once read and once written, as STREAM does. On a CPU, whose samples
    start from warm caches, the bandwidth of a problem is that of a copy that moves as many
    ``bytes``; None is main storage. A GPU is timed from a cold cache, and always against DRAM.
    RuntimeError when the machine is too busy to be measured.
    """
    import torch

    kind = device.partition(":")[0]
    moved = COPIED if bytes is None or kind == "cuda" else max(bytes, SMALLEST_COPY)
    source = torch.ones(moved // 8, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    calls: dict[str, clock.Call] = {"copy": lambda: target.copy_(source)}
    operands = dtypes or (("fp32",) if kind == "cpu" else ("fp32", "tf32", "fp16", "bf16"))
    for operand in operands:
        calls[operand] = _product(operand, SIDE[kind], device)
    with _exact_float32():
        timings = clock.rounds(calls, device=device, rounds=rounds)
    fastest = {name: _fastest(name, timing) for name, timing in timings.items()}
    return Ceilings(
        origin="measured",
        bytes_per_s=8 * source.numel() / fastest["copy"],
        flops_per_s={operand: 2 * SIDE[kind] ** 3 / fastest[operand] for operand in operands},
    )


def _fastest(name: str, timing: clock.Timing) -> float:
    if not timing.samples:
        raise RuntimeError(f"no undisturbed sample of {name}: {timing.why}")
    return min(timing.samples)


def _product(operand: str, side: int, device: str) -> clock.Call:
    import torch

    names = {alias: name for name, alias in ALIASES.items()}
    dtype = getattr(torch, names["fp32" if operand == "tf32" else operand])
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    if operand != "tf32":
        return lambda: a @ b

    def product() -> object:
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            return a @ b
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    return product


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    import torch

    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _card(key: str, entry: Mapping[str, Any]) -> Card:
    return Card(
        key=key, **{**entry, "names": tuple(entry["names"]), "tflops": entry.get("tflops", {})}
    )
