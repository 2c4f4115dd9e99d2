"""How many blocks of a kernel one multiprocessor holds at once, and what limits them.

Registers are handed out by the warp, 256 at a time, from four quarters of the register file; shared
bytes by the block, in units, with 1 KiB more for the driver since compute capability 8.0. The test
holds this against NVIDIA's own calculator, ``cuda_occupancy.h``.
"""

from dataclasses import dataclass

from ..hardware.roofline import Card

WARP = 32
QUARTERS = 4
REGISTER_UNIT = 256


@dataclass(frozen=True, kw_only=True)
class Occupancy:
    """Blocks resident on one multiprocessor; 0 blocks cannot be launched at all."""

    blocks: int
    limits: tuple[str, ...]
    """What stops one more block: ``threads``, ``blocks``, ``registers``, ``shared``."""
    share: float
    """Resident threads / the threads a multiprocessor can hold."""


def occupancy(card: Card, *, registers: int, threads: int, shared: int) -> Occupancy:
    """Blocks of ``threads`` with ``registers`` a thread and ``shared`` dynamic bytes a block."""
    if not 1 <= threads <= 1024:
        raise ValueError(f"{threads} threads a block, want 1 to 1024")
    warps = -(-threads // WARP)
    room = {
        "threads": card.threads_sm // WARP // warps,
        "blocks": card.blocks_sm,
        "registers": _by_registers(card, registers, warps),
        "shared": _by_shared(card, shared),
    }
    blocks = min(room.values())
    return Occupancy(
        blocks=blocks,
        limits=tuple(name for name, count in room.items() if count == blocks),
        share=blocks * warps * WARP / card.threads_sm,
    )


def _by_registers(card: Card, registers: int, warps: int) -> int:
    if registers > card.registers_thread:
        return 0
    of_warp = _round_up(max(registers, 1) * WARP, REGISTER_UNIT)
    return card.registers_sm // QUARTERS // of_warp * QUARTERS // warps


def _by_shared(card: Card, shared: int) -> int:
    if shared > card.smem_block_kib * 1024:
        return 0
    reserved, unit = (1024, 128) if card.target >= 80 else (0, 256)
    used = _round_up(shared + reserved, unit)
    return card.smem_sm_kib * 1024 // used if used else card.blocks_sm


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
