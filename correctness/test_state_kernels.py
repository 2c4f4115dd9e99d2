"""What the kernels of whole states promise beyond the contract: bytes moved, and sequences anew."""

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from correctness.case import Case, compare_all, executing, gradients, to
from correctness.interpreter import Observer, interpret
from correctness.op import find
from impl.registry import index, load

SCANS = ["scans.chunk_states", "scans.matmul_scan", "scans.matmul_tree"]
STEPS = [
    plugin.op or ""
    for plugin in index().values()
    if plugin.id.startswith("inference.recurrent_step.")
]


class DistinctBytes(Observer):
    """Bytes that any program loaded or stored, each counted once."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def access(self, kind: str, addresses, itemsize: int, program: tuple) -> None:
        self.seen |= set((addresses.ravel()[:, None] + np.arange(itemsize)).ravel().tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("plugin_id", SCANS[:2])
def test_a_scan_reads_inputs_and_writes_states_once(plugin_id, dtype):
    plugin, op = load(plugin_id), find("state_recurrence")
    case = Case(plugin, op, op.sizes[-2], dtype)
    seen = DistinctBytes()
    inputs = case.inputs()
    with interpret(seen):
        case.run(inputs)
    assert len(seen.seen) == op.compulsory_bytes(case.dims, dtype)


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("name", STEPS)
def test_decoding_moves_the_state_once_each_way(name, length):
    plugin, op = load(f"inference.recurrent_step.{name}"), find(name)
    case = Case(plugin, op, {**op.sizes[1], "T": length}, torch.bfloat16)
    seen = DistinctBytes()
    inputs = case.inputs()
    with interpret(seen):
        case.run(inputs)
    assert len(seen.seen) == op.compulsory_bytes(case.dims, torch.bfloat16)


@pytest.mark.parametrize("plugin_id", SCANS)
def test_a_decay_of_zero_starts_a_sequence_anew(plugin_id):
    op = find("state_recurrence")
    inputs = to(op.inputs({"B": 1, "T": 37, "H": 1, "D": 20}), torch.float32)
    inputs["a"][:, [0, 5, 6, 16, 30]] = 0.0
    plugin = load(plugin_id)
    run = plugin.run
    assert run is not None
    with executing(plugin, "cpu"):
        mine = {"h": run(**inputs).detach(), **gradients(run, inputs)}

    def told(given):
        return {"h": op(**given)[0].detach(), **gradients(op, given)}

    truth, plain = told(to(inputs, torch.float64)), told(inputs)
    for each in compare_all("", mine, truth, plain, torch.float32):
        assert each.excess <= 1, each
