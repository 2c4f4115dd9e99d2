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
from dataclasses import dataclass, field
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
COPIES = {
    "cpu": (2**20, 2**22, 2**24, 2**26, 2**29),
    "cuda": (2**29,),
}
"""Bytes that a calibration's copies read and write together: the last is beyond any cache.

The first on a CPU is the least that does not measure the cost of calling a copy.
"""
SIDE = {"cpu": 1024, "cuda": 8192}
"""Rows of the square matrices of a calibration, enough to hide their traffic."""
OPERANDS = {"cpu": ("fp32", "bf16", "fp64"), "cuda": ("fp32", "tf32", "fp16", "bf16")}
"""Operand types of a calibration's matrix products."""
CALIBRATED_S = 8.0
"""Seconds after which no further round of a calibration begins: a type may be slow to multiply."""


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
    """Of main storage."""
    flops_per_s: Mapping[str, float]
    """By operand type, ``fp32`` ..."""
    copies: Mapping[int, float] = field(default_factory=dict)
    """Bytes a second by the bytes that a copy moved, where caches were measured too."""

    def bandwidth(self, bytes: float) -> float:
        """Of a copy that moves as many bytes; between two that were measured, of the faster."""
        within = max((size for size in self.copies if size <= bytes), default=0)
        return max(
            (rate for size, rate in self.copies.items() if size >= within),
            default=self.bytes_per_s,
        )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Samples of what a machine reaches, one a round."""

    copies: Mapping[int, Sequence[float]]
    """Bytes a second by the bytes moved."""
    products: Mapping[str, Sequence[float]]
    """Flops a second of a matrix product by operand type."""

    @property
    def ceilings(self) -> Ceilings:
        """The best samples: what a machine does at best, it has done once."""
        copies = {moved: max(samples) for moved, samples in self.copies.items()}
        return Ceilings(
            origin="measured",
            bytes_per_s=copies[max(copies)],
            flops_per_s={operand: max(samples) for operand, samples in self.products.items()},
            copies=copies,
        )


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


def bound(
    gpu: str | Ceilings, bytes: float, flops: float, dtype: str, *, spread: float | None = None
) -> Bound:
    """The longer of moving ``bytes`` and doing ``flops`` on operands of ``dtype``.

    ``gpu`` is a key of ``gpus.toml`` or measured ceilings. The bytes lie ``spread`` over as many, or
    fewer when some are moved again: that decides which cache may hold them. ValueError when the type
    has no peak there and ``flops`` is not 0.
    """
    limits = ceilings(gpu) if isinstance(gpu, str) else gpu
    if bytes < 0 or flops < 0:
        raise ValueError(f"{bytes} bytes and {flops} flops, want neither below 0")
    operand = ALIASES.get(dtype, dtype)
    if flops and operand not in limits.flops_per_s:
        known = ", ".join(limits.flops_per_s)
        raise ValueError(f"no {limits.origin} peak for {operand}, want one of {known}")
    moving = bytes / limits.bandwidth(bytes if spread is None else spread)
    doing = flops / limits.flops_per_s[operand] if flops else 0.0
    return Bound(
        seconds=max(moving, doing),
        term="bandwidth" if moving >= doing else "compute",
        origin=limits.origin,
    )


def calibrate(device: str, rounds: int = 9) -> Calibration:
    """Time copies and matrix products on the machine in hand, one after another.

    A copy counts each byte once read and once written, as STREAM does. A CPU's samples start from
    warm caches, so there copies of several sizes are taken; a GPU is timed from a cold cache, and
    always against DRAM. RuntimeError when the machine is too busy to be measured.
    """
    kind = device.partition(":")[0]
    calls = {str(each): _copy(each, device) for each in COPIES[kind]}
    calls |= {operand: _product(operand, SIDE[kind], device) for operand in OPERANDS[kind]}
    each_s = CALIBRATED_S / len(calls)
    with _exact_float32():
        # best samples are never paired, and what disturbs one call need not cost another its round
        taken = {
            name: clock.rounds({name: call}, device=device, rounds=rounds, seconds=each_s)[name]
            for name, call in calls.items()
        }
    for name, timing in taken.items():
        if not timing.samples:
            raise RuntimeError(f"no undisturbed sample of {name}: {timing.why}")
    flops = 2 * SIDE[kind] ** 3
    return Calibration(
        copies={each: [each / s for s in taken[str(each)].samples] for each in COPIES[kind]},
        products={each: [flops / s for s in taken[each].samples] for each in OPERANDS[kind]},
    )


def _copy(moved: int, device: str) -> clock.Call:
    import torch

    # half of the bytes are read and half written
    source = torch.ones(moved // 8, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


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
