"""ncu's table is read by the format it documents; everything else is refused with its reason."""

import pytest

from ..hardware import counters

LEAD = "==PROF== Connected to process 7 (python)\n==PROF== Profiling: 0%....100% - 2 passes\n"
HEADER = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size",'
    '"Grid Size","Device","CC","dram__bytes_read.sum","dram__bytes_write.sum"\n'
)
FIXED = '"7","python","127.0.0.1","{}","1","7","(128, 1, 1)","(16, 1, 1)","0","9.0"'


def table(read_unit, write_unit, *rows):
    lines = [f'"{i}",{FIXED.format(name)},"{r}","{w}"\n' for i, (name, r, w) in enumerate(rows)]
    units = '"","","","","","","","","","","",' + f'"{read_unit}","{write_unit}"\n'
    return LEAD + HEADER + units + "".join(lines) + "==PROF== Disconnected from process 7\n"


def test_bytes_of_every_launch_are_read():
    text = table("byte", "byte", ("_state_kernel", "2,097,152", "4096"), ("gemm<a, b>", "32", "0"))
    assert counters.parse(text) == [
        counters.KernelTraffic(kernel="_state_kernel", read=2_097_152, written=4096),
        counters.KernelTraffic(kernel="gemm<a, b>", read=32, written=0),
    ]


def test_units_are_those_of_each_column():
    (launch,) = counters.parse(table("Mbyte", "Kbyte", ("k", "1.5", "2.25")))
    assert (launch.read, launch.written) == (1_500_000, 2250)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("==ERROR== ERR_NVGPUCTRPERM\n", "no table; its last line is '==ERROR== ERR_NVGPUCTRPERM'"),
        ("", "no table; its last line is 'nothing'"),
        (table("furlong", "byte", ("k", "1", "1")), "unit 'furlong'"),
        (table("byte", "byte", ("k", "n/a", "1")), "'n/a' is no DRAM count"),
        ('"ID","Kernel Name"\n"",""\n', "lacks dram__bytes_read.sum, dram__bytes_write.sum"),
        (HEADER, "lacks its row of units"),
    ],
)
def test_anything_else_is_refused(text, wish):
    with pytest.raises(ValueError, match=wish.replace("(", r"\(")):
        counters.parse(text)


def test_command_counts_one_range_and_ends_with_its_target(monkeypatch):
    monkeypatch.setattr(counters.shutil, "which", lambda name: f"/opt/{name}")
    line = counters.command(["python", "-m", "bench.cli"], section="scan")
    assert line[0] == "/opt/ncu"
    assert line[-3:] == ["python", "-m", "bench.cli"]
    assert "--nvtx-include=scan/" in line
    assert f"--metrics={counters.READ},{counters.WRITE}" in line


@pytest.fixture
def ncu(monkeypatch, tmp_path):
    """Puts a stand-in for ncu on PATH that prints ``text`` and ends with ``code``."""

    def install(text, code=0):
        (tmp_path / "table.csv").write_text(text)
        tool = tmp_path / "ncu"
        tool.write_text(f"#!/bin/sh\ncat {tmp_path}/table.csv\nexit {code}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_traffic_of_a_program_is_counted(ncu):
    ncu(table("byte", "byte", ("k", "64", "32"), ("k", "64", "32")))
    launches = counters.count(["true"])
    assert sum(each.read + each.written for each in launches) == 192


def test_refusal_of_ncu_is_quoted(ncu):
    ncu("==ERROR== ERR_NVGPUCTRPERM - no permission\n", code=1)
    with pytest.raises(RuntimeError, match="ended with 1: ==ERROR== ERR_NVGPUCTRPERM"):
        counters.count(["true"])


def test_absence_has_its_reason(monkeypatch):
    monkeypatch.setattr(counters.shutil, "which", lambda name: None)
    assert counters.unavailable() == "ncu is not on PATH"
    with pytest.raises(FileNotFoundError, match="ncu is not on PATH"):
        counters.command(["true"])


def test_driver_that_keeps_counters_for_root_is_named(monkeypatch, tmp_path):
    settings = tmp_path / "params"
    settings.write_text("ResmanDebugLevel: 4294967295\nRmProfilingAdminOnly: 1\n")
    monkeypatch.setattr(counters, "PARAMETERS", settings)
    monkeypatch.setattr(counters.os, "geteuid", lambda: 1000)
    assert "NVreg_RestrictProfilingToAdminUsers" in (counters.forbidden() or "")
    monkeypatch.setattr(counters.os, "geteuid", lambda: 0)
    assert counters.forbidden() is None
    settings.write_text("RmProfilingAdminOnly: 0\n")
    monkeypatch.setattr(counters.os, "geteuid", lambda: 1000)
    assert counters.forbidden() is None
