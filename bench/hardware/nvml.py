"""The GPU as its driver's management library (NVML) sees it; every answer may be absent.

A card, a container or a driver may refuse any single query, so each property is its value or None,
and ``gpu`` returns the reason when there is no card at all.
"""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")


class Gpu:
    """One card under its NVML handle. Watts, MHz, joules."""

    def __init__(self, pynvml: Any, handle: Any) -> None:
        self._nvml = pynvml
        self._handle = handle

    @property
    def name(self) -> str | None:
        """``NVIDIA H200``, as torch reports it too."""
        return self._ask(self._nvml.nvmlDeviceGetName, str)

    @property
    def driver(self) -> str | None:
        """Version of the kernel driver."""
        try:
            return str(self._nvml.nvmlSystemGetDriverVersion())
        except self._nvml.NVMLError:
            return None

    @property
    def vbios(self) -> str | None:
        """Version of the card's firmware."""
        return self._ask(self._nvml.nvmlDeviceGetVbiosVersion, str)

    @property
    def power_limit_w(self) -> int | None:
        """Watts above which the driver lowers the clocks."""
        return self._ask(self._nvml.nvmlDeviceGetEnforcedPowerLimit, lambda mw: round(mw / 1e3))

    @property
    def sm_clock_mhz(self) -> int | None:
        """Clock of the SMs right now."""
        return self._ask(lambda h: self._nvml.nvmlDeviceGetClockInfo(h, self._sm), int)

    @property
    def sm_clock_max_mhz(self) -> int | None:
        """Highest clock of the SMs that the card offers."""
        return self._ask(lambda h: self._nvml.nvmlDeviceGetMaxClockInfo(h, self._sm), int)

    @property
    def application_clock_mhz(self) -> int | None:
        """Clock of the SMs that the operator asked for, where the card can be asked."""
        return self._ask(lambda h: self._nvml.nvmlDeviceGetApplicationsClock(h, self._sm), int)

    @property
    def throttle(self) -> tuple[str, ...] | None:
        """Why the clocks are lowered right now; a power cap is listed, idleness is not."""
        names = {
            "SwPowerCap": "power cap",
            "HwSlowdown": "hardware slowdown",
            "SwThermalSlowdown": "thermal slowdown (driver)",
            "HwThermalSlowdown": "thermal slowdown (hardware)",
            "HwPowerBrakeSlowdown": "power brake",
        }
        bits = self._ask(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons, int)
        if bits is None:
            return None
        return tuple(name for key, name in names.items() if bits & _reason(self._nvml, key))

    @property
    def energy_j(self) -> float | None:
        """Joules the card has used since its driver was loaded; steps of 1 mJ."""
        return self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption, lambda mj: mj / 1e3)

    def slowdown(self, share: float) -> str | None:
        """Why the card runs slower than it should, for instance below ``share`` of its clock.

        A power cap is no reason: under load, that is how a card runs.
        """
        reasons = [reason for reason in self.throttle or () if reason != "power cap"]
        if reasons:
            return ", ".join(reasons)
        clock, wanted = self.sm_clock_mhz, self.application_clock_mhz or self.sm_clock_max_mhz
        if clock is not None and wanted is not None and clock < share * wanted:
            return f"SM clock {clock} MHz of {wanted} MHz"
        return None

    @property
    def _sm(self) -> int:
        return self._nvml.NVML_CLOCK_SM

    def _ask(self, query: Callable[[Any], Any], convert: Callable[[Any], Value]) -> Value | None:
        try:
            return convert(query(self._handle))
        except self._nvml.NVMLError:
            return None


def gpu() -> tuple[Gpu | None, str]:
    """The card that CUDA calls device 0, or None and why there is none."""
    pynvml, reason = _library()
    if pynvml is None:
        return None, reason
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if visible in ("", "-1"):
        return None, "CUDA_VISIBLE_DEVICES hides every GPU"
    try:
        if visible.isdigit():
            return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(int(visible))), ""
        return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(visible)), ""
    except pynvml.NVMLError as error:
        return None, f"NVML knows no device {visible}: {error}"


def gpu_of_torch(properties: Any) -> tuple[Gpu | None, str]:
    """The card of ``torch.cuda.get_device_properties(...)``, or None and why NVML cannot say."""
    pynvml, reason = _library()
    if pynvml is None:
        return None, reason
    try:
        return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")), ""
    except pynvml.NVMLError as error:
        return None, f"NVML does not know {properties.name}: {error}"


def _reason(pynvml: Any, key: str) -> int:
    # the constants were renamed from throttle to event reasons, the old names may go
    for prefix in ("nvmlClocksEventReason", "nvmlClocksThrottleReason"):
        if (bit := getattr(pynvml, prefix + key, None)) is not None:
            return bit
    raise AttributeError(f"nvidia-ml-py has no clock reason {key}")


@functools.cache
def _library() -> tuple[Any | None, str]:
    try:
        import pynvml
    except ImportError:
        return None, "the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"no NVIDIA driver answers: {error}"
    return pynvml, ""
