"""What the one-pass kernels promise beyond the contract: bytes moved, packings of any lengths."""

import itertools

import pytest
import torch

pytest.importorskip("triton")

from correctness.case import Case, compare, to
from correctness.interpreter import Observer, interpret
from correctness.op import find
from impl.registry import load


class Traffic(Observer):
    """Bytes that all programs loaded and stored."""

    def __init__(self) -> None:
        self.bytes = 0

    def access(self, kind: str, addresses, itemsize: int, program: tuple) -> None:
        self.bytes += len(addresses) * itemsize


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "plugin_id",
    [
        "chunkwise.linear_attention_fused",
        "delta.ssd_block_fused",
        "fusion.gated_readout",
        "scans.tiled_scan",
    ],
)
def test_a_forward_pass_reads_inputs_once_and_writes_outputs_once(plugin_id, dtype):
    plugin = load(plugin_id)
    op = find(plugin.op or "")
    # values of one tile: a program for each tile asks for the keys anew
    dims = op.sizes[3]
    traffic = Traffic()
    with interpret(traffic):
        Case(plugin, op, dims, dtype).run(Case(plugin, op, dims, dtype).inputs())
    assert traffic.bytes == op.compulsory_bytes(dims, dtype)


class Reach(Observer):
    """Addresses that all programs loaded and stored."""

    def __init__(self) -> None:
        self.bytes: dict[tuple[str, int], int] = {}

    def access(self, kind: str, addresses, itemsize: int, program: tuple) -> None:
        for address in addresses.tolist():
            self.bytes[kind, address] = itemsize


@pytest.mark.parametrize(
    "plugin_id",
    [
        "chunkwise.sigmoid_mlstm_fused",
        "delta.chunkwise",
        "dplr.channel_gated_fused",
        "dplr.generalised_fused",
    ],
)
def test_a_forward_pass_that_loads_a_chunk_again_reaches_nothing_else(plugin_id):
    plugin = load(plugin_id)
    op = find(plugin.op or "")
    dims, dtype = op.sizes[3], torch.bfloat16
    reach = Reach()
    with interpret(reach):
        Case(plugin, op, dims, dtype).run(Case(plugin, op, dims, dtype).inputs())
    assert sum(reach.bytes.values()) == op.compulsory_bytes(dims, dtype)


@pytest.mark.parametrize(
    "plugin_id",
    [
        "chunkwise.exponential_mlstm_fused",
        "chunkwise.gla_fused",
        "chunkwise.linear_attention_fused",
        "chunkwise.sigmoid_mlstm_fused",
        "chunkwise.ssd_fused",
        "delta.chunkwise",
        "delta.gated_chunkwise",
        "delta.product_fused",
        "dplr.channel_gated_fused",
        "dplr.generalised_fused",
        "fusion.gated_readout",
    ],
)
@pytest.mark.parametrize("checkpoint", [16, 32], ids=["side by side", "piece by piece"])
@pytest.mark.parametrize("ends", [None, [0, 20, 20, 70]], ids=["one", "packed"])
def test_gradients_do_not_depend_on_how_many_states_were_kept(plugin_id, checkpoint, ends):
    plugin = load(plugin_id)
    op = find(plugin.op or "")
    dims = {"B": 1, "T": 70, "H": 2, "K": 5, "V": 3, "R": 2, "P": 3, "G": 1, "N": 5}
    case = Case(plugin, op, {axis: dims[axis] for axis in op.axes()}, torch.float32)
    run = plugin.run
    assert run is not None
    given = case.inputs()
    given.pop("h0", None)
    packing = {} if ends is None else {"cu_seqlens": torch.tensor(ends)}
    chunk = {"chunk": min(plugin.knobs["chunk"])} if "chunk" in plugin.knobs else {}

    def gradients(**knobs: int) -> list[torch.Tensor]:
        leaves = {name: x.clone().requires_grad_() for name, x in given.items()}
        with interpret():
            o, state = run(**leaves, **packing, **chunk, **knobs)
            return list(torch.autograd.grad(o.sum() + state.sum(), list(leaves.values())))

    for kept, few in zip(gradients(checkpoint=checkpoint), gradients(checkpoint=128), strict=True):
        torch.testing.assert_close(kept, few)


@pytest.mark.parametrize("plugin_id", ["dplr.channel_gated_fused"])
@pytest.mark.parametrize("checkpoint", [16, 32], ids=["side by side", "piece by piece"])
def test_keys_that_heads_share_get_the_sum_of_what_copies_get(plugin_id, checkpoint):
    plugin = load(plugin_id)
    op = find(plugin.op or "")
    run = plugin.run
    assert run is not None
    dims = {"B": 1, "T": 20, "H": 4, "K": 5, "V": 3}
    given = to(op.inputs({axis: dims[axis] for axis in op.axes()}), torch.float32)
    shared = {name: given[name][:, :, :2] for name in op.grouped}
    copies = {name: x.repeat_interleave(2, dim=2) for name, x in shared.items()}

    def gradients(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
        with interpret():
            o, state = run(**leaves, chunk=16, checkpoint=checkpoint)
            found = torch.autograd.grad(o.sum() + state.sum(), list(leaves.values()))
        return dict(zip(leaves, found, strict=True))

    found, wanted = gradients(given | shared), gradients(given | copies)
    for name in given:
        one = wanted[name].unflatten(2, (2, 2)).sum(3) if name in shared else wanted[name]
        torch.testing.assert_close(found[name], one)


@pytest.mark.parametrize(
    "plugin_id",
    [
        "chunkwise.exponential_mlstm_fused",
        "chunkwise.gla_fused",
        "chunkwise.linear_attention_fused",
        "chunkwise.ssd_fused",
        "delta.gated_chunkwise",
        "delta.product_fused",
        "dplr.channel_gated_fused",
        "dplr.generalised_fused",
        "fusion.gated_readout",
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["alone", "packed"])
def test_an_empty_sequence_hands_the_gradient_of_its_state_on(plugin_id, packed):
    plugin = load(plugin_id)
    op = find(plugin.op or "")
    dims = {"B": 1, "T": 7, "H": 2, "K": 5, "V": 3, "R": 2, "P": 3, "G": 1, "N": 5}
    dims = {axis: dims[axis] for axis in op.axes()}
    given = to(op.inputs(dims), torch.float32)
    packing = {"cu_seqlens": torch.tensor([0, 3, 3, 7])} if packed else {}
    empty, sequences = (1, 3) if packed else (0, 1)
    if not packed:
        given = {name: x if name == "a" else x[:, :0] for name, x in given.items()}
    given["h0"] = op.inputs({**dims, "B": sequences})["h0"].float().requires_grad_()
    assert plugin.run is not None
    with interpret():
        _, state = plugin.run(**given, **packing)
        weights = torch.randn(state.shape, generator=torch.Generator().manual_seed(0))
        (dh0,) = torch.autograd.grad((state * weights).sum(), [given["h0"]])
    assert torch.equal(state[empty], given["h0"][empty])
    assert torch.equal(dh0[empty], weights[empty])


@pytest.mark.parametrize(
    "ends",
    [[0, 1, 2, 3, 90], [0, 0, 5, 5, 21, 70, 70], [0, 16, 32, 80]],
    ids=["short ones first", "empty ones", "whole chunks"],
)
@pytest.mark.parametrize(
    "plugin_id", ["chunkwise.linear_attention", "chunkwise.linear_attention_fused"]
)
def test_packed_sequences_of_any_length_find_their_chunks(plugin_id, ends):
    run = load(plugin_id).run
    assert run is not None
    op = find("linear_attention")
    dims = {"T": ends[-1], "H": 2, "K": 3, "V": 5}
    given = to(op.inputs({"B": 1, **dims}), torch.float32)
    given["h0"] = op.inputs({"B": len(ends) - 1, **dims})["h0"].float()
    with interpret():
        o, state = run(**given, cu_seqlens=torch.tensor(ends), chunk=16)
    for i, (start, stop) in enumerate(itertools.pairwise(ends)):
        if start == stop:
            assert torch.equal(state[i], given["h0"][i])
            continue
        alone = {name: x[:, start:stop] for name, x in given.items() if name != "h0"}
        alone["h0"] = given["h0"][i : i + 1]
        truth, plain = op(**to(alone, torch.float64)), op(**alone)
        for each in zip((o[:, start:stop], state[i : i + 1]), truth, plain, strict=True):
            assert compare(f"sequence {i}", *each, torch.float32).excess <= 1


@pytest.mark.parametrize(
    ("plugin_id", "rows", "columns"),
    [
        ("delta.ssd_block_fused", 20, 100),
        ("delta.ssd_block_fused", 20, 128),
        ("chunkwise.ssd_fused", 100, 20),
        ("delta.ssd_block_fused", 140, 20),
        ("chunkwise.sigmoid_mlstm_fused", 70, 100),
        ("chunkwise.sigmoid_mlstm_fused", 20, 128),
        ("chunkwise.exponential_mlstm_fused", 70, 100),
        ("fusion.gated_readout", 70, 100),
    ],
)
def test_tiles_of_a_state_make_one_answer(plugin_id, rows, columns):
    plugin = load(plugin_id)
    op = find(plugin.op or "")
    dims = {"B": 1, "T": 40, "H": 2, "K": rows, "V": columns, "P": columns, "G": 1, "N": rows}
    case = Case(plugin, op, {axis: dims[axis] for axis in op.axes()}, torch.float32)
    inputs = case.inputs()
    found = case.compare(case.run(inputs), inputs)
    found += case.compare_gradients(case.gradients(inputs), inputs)
    assert max(each.excess for each in found) <= 1


@pytest.mark.parametrize(
    ("batch", "states", "complaint"), [(2, 2, "B=2, want 1"), (1, 3, "h0 holds 3 states, want S=2")]
)
def test_a_packing_that_does_not_fit_is_refused(batch, states, complaint):
    run = load("chunkwise.linear_attention_fused").run
    assert run is not None
    dims = {"T": 8, "H": 1, "K": 3, "V": 5}
    given = to(find("linear_attention").inputs({"B": batch, **dims}), torch.float32)
    given["h0"] = torch.zeros(states, 1, 3, 5)
    with pytest.raises(ValueError, match=complaint):
        run(**given, cu_seqlens=torch.tensor([0, 3, 8]))
