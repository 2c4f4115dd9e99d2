"""DRAM bytes by the card's own counters, read through NVIDIA Nsight Compute (ncu).

    traffic = dram__bytes_read.sum + dram__bytes_write.sum, over every kernel of the call

Measured traffic is another metric than the traffic of a trace: it counts what missed the L2 cache,
in sectors, and is what a bandwidth bound is about. ncu replays each kernel from a flushed cache.
Where it is absent, or the driver keeps counters from users, the reason is what is reported.
"""

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

READ, WRITE = "dram__bytes_read.sum", "dram__bytes_write.sum"
UNITS = {"byte": 1, "Kbyte": 10**3, "Mbyte": 10**6, "Gbyte": 10**9, "Tbyte": 10**12}
"""ncu's spelling of byte units; decimal, as its documentation has them."""
PARAMETERS = Path("/proc/driver/nvidia/params")


@dataclass(frozen=True, kw_only=True)
class KernelTraffic:
    """DRAM bytes of one kernel launch."""

    kernel: str
    read: int
    written: int


def find() -> Path | None:
    """The ncu executable, or None."""
    found = shutil.which("ncu")
    return Path(found) if found else None


def forbidden() -> str | None:
    """Why this user may not read counters, as far as the driver's settings tell, or None."""
    if os.geteuid() == 0:
        return None
    try:
        settings = PARAMETERS.read_text()
    except OSError:
        return None
    if "RmProfilingAdminOnly: 1" in settings:
        return "the driver keeps counters for root: NVreg_RestrictProfilingToAdminUsers=1"
    return None


def unavailable() -> str | None:
    """Why DRAM traffic cannot be measured here, or None."""
    return "ncu is not on PATH" if find() is None else forbidden()


def command(target: Sequence[str], *, section: str = "measured") -> list[str]:
    """The ncu command that counts DRAM bytes of ``target`` inside the NVTX range ``section``.

    FileNotFoundError when there is no ncu.
    """
    tool = find()
    if tool is None:
        raise FileNotFoundError("ncu is not on PATH")
    return [
        str(tool),
        "--csv",
        "--page=raw",
        "--print-units=base",
        f"--metrics={READ},{WRITE}",
        "--nvtx",
        f"--nvtx-include={section}/",
        "--cache-control=all",
        "--clock-control=none",
        "--target-processes=all",
        *target,
    ]


def count(target: Sequence[str], *, section: str = "measured") -> list[KernelTraffic]:
    """DRAM bytes of every kernel that ``target`` launches inside ``section``.

    RuntimeError quotes ncu when it refuses, for instance because counters are kept from this user.
    """
    line = command(target, section=section)
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        raise RuntimeError(f"ncu ended with {done.returncode}: {' '.join(said) or 'no reason'}")
    return parse(done.stdout)


def parse(text: str) -> list[KernelTraffic]:
    """The launches in ncu's raw csv page. ValueError quotes what is not as documented.

    Lines that ncu and its target print before the header are skipped; the row after the header
    holds units.
    """
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        raise ValueError(f"ncu printed no table; its last line is {last!r}")
    table = csv.DictReader(io.StringIO("\n".join(lines[start:])))
    units = next(table, None)
    missing = [
        name for name in ("Kernel Name", READ, WRITE) if name not in (table.fieldnames or ())
    ]
    if units is None or missing:
        raise ValueError(f"ncu's table lacks {', '.join(missing) or 'its row of units'}")
    return [
        KernelTraffic(
            kernel=row["Kernel Name"],
            read=_bytes(row[READ], units[READ]),
            written=_bytes(row[WRITE], units[WRITE]),
        )
        for row in table
        if row["Kernel Name"]
    ]


def _bytes(value: str, unit: str) -> int:
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r} of a DRAM counter, want one of {', '.join(UNITS)}")
    try:
        return round(float(value.replace(",", "")) * UNITS[unit])
    except ValueError as error:
        raise ValueError(f"{value!r} is no DRAM count; is the counter allowed?") from error
