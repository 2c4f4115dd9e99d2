"""What a measurement was taken on: a stable name, the hardware, the driver and the software.

Nothing here identifies an owner: a machine is named after its processor or card, never its host.
Two boxes alike are one machine, and their results one series; a changed driver is a new series.
The record of a CPU imports no torch.
"""

import importlib.metadata
import importlib.util
import itertools
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import counters, nvml
from .roofline import card_named, cards

ISA = ("avx", "avx2", "avx512f", "avx512_bf16", "amx_bf16", "neon", "asimd", "sve")
"""CPU features that change which code torch runs, in the order they are reported."""
STACK = ("torch", "triton", "numpy", "scipy")
"""Distributions whose version may change any figure."""
GIB = 2**30

State = Literal["ok", "missing", "limited"]


@dataclass(frozen=True, kw_only=True)
class GpuRecord:
    """The card as the driver reports it; None where it refuses to say."""

    name: str
    driver: str | None
    vbios: str | None
    power_limit_w: int | None
    sm_clock_max_mhz: int | None
    application_clock_mhz: int | None
    throttle: tuple[str, ...] | None
    energy_counter: bool


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine and what runs on it."""

    name: str
    """``amd-epyc-2-cores``, ``nvidia-h200``: a folder of ``results/``."""
    kind: str
    """``cpu``, the card's key in ``suites/gpus.toml``, or the slug of a card that is not there."""
    cpu: str
    cores: int
    ram_gib: int
    os: str
    arch: str
    isa: tuple[str, ...]
    gpu: GpuRecord | None
    gpu_absent: str
    """Why ``gpu`` is None; empty when it is not."""
    stack: Mapping[str, str]
    """As ``stack()`` returns it."""

    def asv(self) -> dict[str, str]:
        """The machine as asv stores it; every value is an axis of the published series."""
        gpu = self.gpu
        clocks = {
            "sm_clock_max": gpu.sm_clock_max_mhz if gpu else None,
            "application_clock": gpu.application_clock_mhz if gpu else None,
        }
        return {
            "machine": self.name,
            "os": self.os,
            "arch": self.arch,
            "cpu": self.cpu,
            "num_cpu": str(self.cores),
            "ram": f"{self.ram_gib} GiB",
            "gpu": gpu.name if gpu else "",
            "driver": (gpu.driver or "") if gpu else "",
            "vbios": (gpu.vbios or "") if gpu else "",
            "power_limit": f"{gpu.power_limit_w} W" if gpu and gpu.power_limit_w else "",
            **{name: f"{mhz} MHz" for name, mhz in clocks.items() if mhz},
        }


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of ``doctor``: what was looked at, how it stands, what follows from that."""

    what: str
    state: State
    detail: str
    """The version or figure found, or why there is none."""
    consequence: str
    """What cannot be measured; empty when all is well."""


@dataclass(frozen=True)
class Part:
    """A module, the distributions that bring it, and what its absence costs."""

    module: str
    distributions: tuple[str, ...]
    cost: str


REQUIRED = (
    Part("torch", ("torch",), "nothing can be run at all"),
    Part("triton", ("triton",), "Triton plugins are absent, and no static report can be made"),
    Part("pynvml", ("nvidia-ml-py",), "no clocks, throttling or energy of a GPU are seen"),
)
OPTIONAL = (
    Part("cupy", ("cupy-cuda12x", "cupy-cuda13x"), "CuPy plugins are absent"),
    Part(
        "fla",
        ("fla-core", "flash-linear-attention"),
        "no comparison with flash-linear-attention: its peers are absent",
    ),
    Part("mamba_ssm", ("mamba-ssm",), "no comparison with Mamba-2: its peer is absent"),
)


def record(device: str = "cpu") -> Machine:
    """The machine as a measurement on ``device`` sees it; on ``cpu`` a card present is left out."""
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r}, want cpu or cuda")
    gpu, absent = _card() if kind == "cuda" else (None, "measured on the CPU")
    if kind == "cuda" and gpu is None:
        raise ValueError(f"device {device!r}, want cpu here: {absent}")
    cpu, cores = _cpu_model(), os.cpu_count() or 1
    return Machine(
        name=f"{slug(cpu)}-{cores}-cores" if gpu is None else _gpu_name(gpu.name),
        kind="cpu" if gpu is None else _kind(gpu.name),
        cpu=cpu,
        cores=cores,
        ram_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB),
        os=platform.system(),
        arch=platform.machine(),
        isa=_isa(),
        gpu=gpu,
        gpu_absent=absent,
        stack=stack(),
    )


def stack() -> Mapping[str, str]:
    """Versions of python and of the installed distributions that may change a figure.

    With torch imported also ``threads``, those it computes with on the CPU.
    """
    found = {"python": platform.python_version()}
    for name in (*STACK, *itertools.chain.from_iterable(part.distributions for part in OPTIONAL)):
        if (version := _version(name)) is not None:
            found[name] = version
    if (torch := sys.modules.get("torch")) is not None:
        found["threads"] = str(torch.get_num_threads())
    return found


def slug(model: str) -> str:
    """``Intel(R) Xeon(R) Platinum 8480+ @ 2.0GHz`` as ``intel-xeon-platinum-8480``."""
    plain = re.sub(r"\((r|tm|c)\)|@.*|\b(cpu|processor|\d+-core)\b", " ", model.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "unknown"


def doctor() -> list[Finding]:
    """Everything a measurement may want, in the order in which it is wanted."""
    return [*_doctor_software(), *_doctor_gpu(), *_doctor_counters(), *_doctor_tools()]


def _card() -> tuple[GpuRecord | None, str]:
    gpu, reason = nvml.gpu()
    if gpu is None:
        return None, reason
    found = GpuRecord(
        name=gpu.name or "unknown",
        driver=gpu.driver,
        vbios=gpu.vbios,
        power_limit_w=gpu.power_limit_w,
        sm_clock_max_mhz=gpu.sm_clock_max_mhz,
        application_clock_mhz=gpu.application_clock_mhz,
        throttle=gpu.throttle,
        energy_counter=gpu.energy_j is not None,
    )
    return found, ""


def _gpu_name(name: str) -> str:
    key = _kind(name)
    return f"nvidia-{key}" if key in cards() else key


def _kind(name: str) -> str:
    found = card_named(name)
    return found.key if found else slug(name)


def _cpu_model() -> str:
    # Linux names the model here; ARM kernels do not, and macOS has no such file
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine()


def _isa() -> tuple[str, ...]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ()
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
    flags = set(match[1].split()) if match else set()
    return tuple(name for name in ISA if name in flags)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _doctor_software() -> Iterator[Finding]:
    for part in (*REQUIRED, *OPTIONAL):
        present = importlib.util.find_spec(part.module) is not None
        versions = [version for name in part.distributions if (version := _version(name))]
        yield Finding(
            what=part.module,
            state="ok" if present else "missing",
            detail=" ".join(versions) or ("installed" if present else "not installed"),
            consequence="" if present else part.cost,
        )


def _doctor_gpu() -> Iterator[Finding]:
    gpu, reason = _card()
    if gpu is None:
        cost = "times, traffic and energy of GPU kernels stay untested; the CPU part is complete"
        yield Finding(what="GPU", state="missing", detail=reason, consequence=cost)
        return
    known = card_named(gpu.name) is not None
    cost = "" if known else "not in suites/gpus.toml: no data-sheet bound, no claim names it"
    yield Finding(what="GPU", state="ok" if known else "limited", detail=gpu.name, consequence=cost)
    yield Finding(what="driver", state="ok", detail=gpu.driver or "unknown", consequence="")
    yield _doctor_cuda()
    energy = "" if gpu.energy_counter else "no energy figures"
    yield Finding(
        what="energy counter",
        state="ok" if gpu.energy_counter else "missing",
        detail="NVML total energy" if gpu.energy_counter else "NVML refuses it",
        consequence=energy,
    )


def _doctor_cuda() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding(
            what="CUDA", state="missing", detail="no torch", consequence="the GPU is not used"
        )
    import torch

    usable = torch.cuda.is_available()
    built = torch.version.cuda
    return Finding(
        what="CUDA",
        state="ok" if usable else "missing",
        detail=f"torch was built for CUDA {built}" if built else "torch was built without CUDA",
        consequence="" if usable else "torch cannot use the GPU: everything runs on the CPU",
    )


def _doctor_counters() -> Iterator[Finding]:
    tool = counters.find()
    cost = "GPU traffic is modelled only, never measured"
    if tool is None:
        yield Finding(what="ncu", state="missing", detail="not on PATH", consequence=cost)
        return
    refusal = counters.forbidden()
    yield Finding(
        what="ncu",
        state="limited" if refusal else "ok",
        detail=refusal or str(tool),
        consequence=cost if refusal else "",
    )


def _doctor_tools() -> Iterator[Finding]:
    for what, names, cost in (
        ("C++ compiler", ("g++", "clang++"), "Triton cannot build its launcher for a GPU"),
        ("nvcc", ("nvcc",), "CUDA extensions of peers cannot be built from source"),
        ("git", ("git",), "no measurement over commits"),
        ("chromium", ("chromium", "chromium-browser", "google-chrome"), "no check of the site"),
    ):
        path = next((found for name in names if (found := shutil.which(name))), None)
        yield Finding(
            what=what,
            state="ok" if path else "missing",
            detail=path or "not on PATH",
            consequence="" if path else cost,
        )
    free = shutil.disk_usage(Path.cwd()).free / GIB
    yield Finding(
        what="disk",
        state="ok" if free >= 2 else "limited",
        detail=f"{free:.1f} GiB free",
        consequence="" if free >= 2 else "environments of single commits may not fit",
    )
