"""What the machine can do at best, measured beside the figures of a commit and stored with them.

A process of its own times the copies and matrix products of ``hardware.roofline``, with as many
threads as a contest has; every sample is kept. No plugin is imported: the figures are of the machine
and its software alone, taken anew at every commit because figures are judged against those of the
same run.
"""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ..hardware import roofline
from ..hardware.roofline import COPIES, OPERANDS, SIDE, Calibration
from ..lab.workers import OutOfTime
from ..record.benchmark_name import CEILINGS, class_name
from . import store
from .checkout import TREE
from .trackers import Cache

GROUP = "the machine's ceilings"
NAME = class_name("machine", "ceilings")
"""asv's class: of no suite, for a machine has one set of ceilings at a commit."""
COPY, PRODUCT = "machine.copy", "machine.product"
"""What stands where figures of an op have the plugin."""
COPIED = "fp32"
LIMIT_S = 120.0
"""Seconds after which the process hangs: ten times what a calibration takes."""


def measure(device: str, deadline: float | None = None) -> Calibration:
    """Calibrate in a process of its own. RuntimeError says why not; OutOfTime at ``deadline``."""
    left = LIMIT_S if deadline is None else deadline - time.monotonic()
    paths = [str(TREE), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, device],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
            timeout=max(0.1, min(left, LIMIT_S)),
        )
    except subprocess.TimeoutExpired:
        if left < LIMIT_S:
            raise OutOfTime from None
        raise RuntimeError(f"no ceilings within {LIMIT_S:.0f} s") from None
    if done.returncode:
        raise RuntimeError((done.stderr.splitlines() or [f"status {done.returncode}"])[-1])
    found = json.loads(done.stdout)
    copies = {int(moved): samples for moved, samples in found["copies"].items()}
    return Calibration(copies=copies, products=found["products"])


def cells(device: str, found: Calibration) -> Mapping[str, store.Cells]:
    """Samples by metric and by what stands where figures of an op have plugin, sizes and dtype."""
    square = _square(SIDE[device.partition(":")[0]])
    return {
        "copy_bandwidth": {
            (COPY, _moved(moved), COPIED): tuple(each) for moved, each in found.copies.items()
        },
        "product_rate": {
            (PRODUCT, square, operand): tuple(each) for operand, each in found.products.items()
        },
    }


def axes() -> Mapping[str, Sequence[str]]:
    """Parameters of asv's class, the same on every machine."""
    copies = sorted(set(itertools.chain.from_iterable(COPIES.values())))
    sizes = (*map(_moved, copies), *map(_square, sorted(set(SIDE.values()))))
    operands = dict.fromkeys(itertools.chain.from_iterable(OPERANDS.values()))
    return {"plugin": (COPY, PRODUCT), "sizes": sizes, "dtype": tuple(operands)}


def version() -> str:
    """Changes when what is timed does."""
    return hashlib.sha256(repr((COPIES, SIDE, OPERANDS)).encode()).hexdigest()[:12]


def cache(device: str) -> Cache:
    """Calibrate: what asv's ``setup_cache`` keeps for its trackers; nothing on a busy machine."""
    number = int(time.time() * 1e3)
    try:
        found = cells(device, measure(device))
    except RuntimeError as error:
        sys.stderr.write(f"no ceilings: {error}\n")
        return {}
    return {
        (*place, metric): (samples, number)
        for metric, each in found.items()
        for place, samples in each.items()
    }


def keep(device: str, found: Calibration, place: store.Place) -> None:
    """Store the samples where asv's own lie."""
    grid = tuple(tuple(axis) for axis in axes().values())
    place.write(
        device,
        f"{CEILINGS}.{NAME}",
        (version(), grid),
        cells(device, found),
        set(itertools.product(*grid)),
        int(time.time() * 1e3),
    )


def are_kept(device: str, place: store.Place) -> bool:
    """Whether ceilings of this machine are stored for this commit."""
    return place.has(device, f"{CEILINGS}.{NAME}")


def moved(sizes: str) -> int:
    """``64MiB`` as the bytes that the copy moved. ValueError for what is no such name."""
    return int(sizes.removesuffix("MiB")) * 2**20


def _moved(bytes: int) -> str:
    return f"{bytes // 2**20}MiB"


def _square(side: int) -> str:
    return f"{side}x{side}"


def main() -> None:
    """Calibrate the device that is named and print the samples."""
    sys.stdout.write(json.dumps(asdict(roofline.calibrate(sys.argv[1]))))


if __name__ == "__main__":
    main()
