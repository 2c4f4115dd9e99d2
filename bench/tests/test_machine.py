"""A machine has a stable name that betrays no owner, and the doctor says what an absence costs."""

import platform
import socket
import subprocess
import sys

import pytest

from ..hardware import machine, nvml


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz", "intel-xeon-platinum-8480"),
        ("AMD EPYC 9654 96-Core Processor", "amd-epyc-9654"),
        ("AMD EPYC", "amd-epyc"),
        ("NVIDIA L40S", "nvidia-l40s"),
        ("", "unknown"),
    ],
)
def test_model_becomes_a_plain_slug(model, wanted):
    assert machine.slug(model) == wanted


def test_record_of_a_cpu_names_hardware_and_nobody():
    found = machine.record()
    assert found.kind == "cpu"
    assert found.name.endswith(f"-{found.cores}-cores")
    assert found.cores >= 1
    assert found.ram_gib >= 1
    assert found.gpu is None
    assert found.gpu_absent
    assert found.stack["python"] == platform.python_version()
    assert socket.gethostname() not in found.name
    assert socket.gethostname() not in " ".join(found.asv().values())


def test_asv_gets_its_six_keys_and_no_kernel_version():
    row = machine.record().asv()
    assert {"machine", "os", "arch", "cpu", "num_cpu", "ram"} <= set(row)
    assert all(isinstance(value, str) for value in row.values())
    assert row["os"] in ("Linux", "Darwin")


def test_record_of_a_cpu_imports_no_torch():
    code = (
        "import sys\n"
        "from bench.engine import clock, noise\nfrom bench.hardware import machine, roofline\n"
        "machine.record(); machine.doctor(); roofline.cards()\n"
        "assert not {'torch', 'triton', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_threads_are_known_once_torch_is_there():
    torch = pytest.importorskip("torch")
    assert machine.stack()["threads"] == str(torch.get_num_threads())


def test_device_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr(nvml, "gpu", lambda: (None, "no NVIDIA driver answers"))
    with pytest.raises(ValueError, match="'cuda', want cpu here: no NVIDIA driver answers"):
        machine.record("cuda")
    with pytest.raises(ValueError, match="device 'tpu', want cpu or cuda"):
        machine.record("tpu")


def test_every_absence_says_what_it_costs():
    for finding in machine.doctor():
        assert finding.what
        assert finding.detail
        assert bool(finding.consequence) == (finding.state != "ok"), finding


class DriverError(Exception):
    """What a driver raises when it will not say."""


class Driver:
    """A driver of one H200 that refuses application clocks; the numbers are NVML's own units."""

    NVMLError = DriverError
    NVML_CLOCK_SM = 1
    nvmlClocksEventReasonSwPowerCap = 0x4  # noqa: N815
    nvmlClocksEventReasonHwSlowdown = 0x8  # noqa: N815
    nvmlClocksEventReasonSwThermalSlowdown = 0x20  # noqa: N815
    nvmlClocksThrottleReasonHwThermalSlowdown = 0x40  # noqa: N815
    nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 0x80  # noqa: N815

    def __init__(self, reasons=0, clock=1980):
        self.reasons, self.clock = reasons, clock

    def __getattr__(self, name):
        answers = {
            "nvmlSystemGetDriverVersion": lambda: "580.1",
            "nvmlDeviceGetName": lambda h: "NVIDIA H200",
            "nvmlDeviceGetVbiosVersion": lambda h: "96.00",
            "nvmlDeviceGetEnforcedPowerLimit": lambda h: 700_000,
            "nvmlDeviceGetClockInfo": lambda h, kind: self.clock,
            "nvmlDeviceGetMaxClockInfo": lambda h, kind: 1980,
            "nvmlDeviceGetApplicationsClock": self.refuse,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda h: self.reasons,
            "nvmlDeviceGetTotalEnergyConsumption": lambda h: 12_345,
        }
        if name not in answers:
            raise AttributeError(name)
        return answers[name]

    @staticmethod
    def refuse(*args):
        raise DriverError("not supported")


def test_record_of_a_gpu_carries_what_the_driver_says(monkeypatch):
    gpu = nvml.Gpu(Driver(), handle=object())
    monkeypatch.setattr(nvml, "gpu", lambda: (gpu, ""))
    found = machine.record("cuda")
    assert (found.name, found.kind) == ("nvidia-h200", "h200")
    assert found.gpu is not None
    assert found.gpu.power_limit_w == 700
    assert found.gpu.application_clock_mhz is None
    assert found.gpu.energy_counter
    assert found.asv()["driver"] == "580.1"
    assert found.asv()["sm_clock_max"] == "1980 MHz" and "application_clock" not in found.asv()


@pytest.mark.parametrize(
    ("reasons", "clock", "wanted"),
    [
        (0, 1980, None),
        (0x4, 1700, None),
        (0x20, 1980, "thermal slowdown (driver)"),
        (0x40, 1980, "thermal slowdown (hardware)"),
        (0x88, 1980, "hardware slowdown, power brake"),
        (0x4, 1400, "SM clock 1400 MHz of 1980 MHz"),
    ],
)
def test_slowdown_is_anything_but_a_power_cap_near_full_clock(reasons, clock, wanted):
    assert nvml.Gpu(Driver(reasons, clock), handle=object()).slowdown(0.75) == wanted
