"""What a compiled kernel asks of a card, read from its machine code by NVIDIA's own tools.

``cuobjdump`` reads registers, stack and instructions from the binary that would run; only ``ptxas``
knows the spilled bytes, so the same PTX is assembled once more with the same flags, and both tools
must agree on registers and stack before its spills are believed. Both tools ship with triton.
"""

import collections
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", re.M)
ENCODED = re.compile(r"/\* (0x[0-9a-f]{16}) \*/")


@dataclass(frozen=True, kw_only=True)
class MachineCode:
    """One kernel's needs, a thread or a block at a time, and its static instruction counts."""

    registers: int
    """Of 32 bits, a thread."""
    spill_stores: int
    """Bytes a thread writes to local storage because it ran out of registers."""
    spill_loads: int
    """Bytes a thread reads back from there."""
    stack: int
    """Bytes of local storage a thread reserves."""
    matrix: Mapping[str, int]
    """Matrix instructions by opcode: HMMA, HGMMA, UTCHMMA, ... Static, not executed, counts."""
    local: int
    """Loads and stores of local storage, static."""
    instructions: int
    """All instructions, static."""
    digest: str
    """Of the encoded instructions alone: equal digests run the same code, whatever the source."""


def read(cubin: bytes, ptx: str, ptxas: str, flags: tuple[str, ...]) -> MachineCode:
    """Needs of the one kernel in ``cubin``, which ``ptxas`` made from ``ptx`` under ``flags``.

    RuntimeError when the two disagree: the flags are then not those of the binary.
    """
    listing = _dump(cubin, "-sass")
    usage = _usage(_dump(cubin, "-res-usage"))
    assembled = _assemble(ptx, ptxas, flags)
    for what in ("registers", "stack"):
        if usage[what] != assembled[what]:
            raise RuntimeError(
                f"ptxas gives {assembled[what]} {what}, the binary has {usage[what]}: other flags"
            )
    opcodes = collections.Counter(name.split(".")[0] for name in INSTRUCTION.findall(listing))
    return MachineCode(
        **assembled,
        matrix={op: count for op, count in sorted(opcodes.items()) if op.endswith("MMA")},
        local=opcodes["LDL"] + opcodes["STL"],
        instructions=opcodes.total(),
        digest=_digest(listing),
    )


def tool(name: str) -> str:
    """Path of one of NVIDIA's binary tools inside the triton package. FileNotFoundError without."""
    import triton

    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    if not path.exists():
        raise FileNotFoundError(f"{name} is not in this triton: {path.parent}")
    return str(path)


def _digest(listing: str) -> str:
    words = ENCODED.findall(listing)
    if not words:
        raise RuntimeError("cuobjdump listed no instruction")
    return hashlib.sha256("".join(words).encode()).hexdigest()


def _dump(cubin: bytes, what: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [tool("cuobjdump"), what, file.name], capture_output=True, text=True, check=True
        )
    return done.stdout


def _usage(text: str) -> dict[str, int]:
    found = re.findall(r"\bREG:(\d+) STACK:(\d+)", text)
    if len(found) != 1:
        raise RuntimeError(f"cuobjdump lists {len(found)} kernels, want 1")
    return {"registers": int(found[0][0]), "stack": int(found[0][1])}


def _assemble(ptx: str, ptxas: str, flags: tuple[str, ...]) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        done = subprocess.run(
            [ptxas, *flags, "-v", str(source), "-o", str(source.with_suffix(".cubin"))],
            capture_output=True,
            text=True,
            check=True,
        )
    return parse_log(done.stderr)


def parse_log(log: str) -> dict[str, int]:
    """Registers, and bytes of stack and spills, from the log of ``ptxas -v`` on one kernel."""
    stack = re.search(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log
    )
    registers = re.search(r"Used (\d+) registers", log)
    if stack is None or registers is None:
        raise RuntimeError(f"ptxas -v printed no usage: {log.strip()[-200:]!r}")
    return {
        "registers": int(registers[1]),
        "stack": int(stack[1]),
        "spill_stores": int(stack[2]),
        "spill_loads": int(stack[3]),
    }
