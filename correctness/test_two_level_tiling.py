"""What chunks and tiles of linear attention promise beyond the contract: packed sequences of several."""

import itertools

import pytest
import torch

pytest.importorskip("triton")

from correctness.case import compare_all, gradients, to
from correctness.interpreter import interpret
from correctness.op import find
from impl.registry import load

ENDS = [0, 0, 70, 71, 135, 135, 204]
"""Empty sequences, one of a step, one of a whole chunk, two of a chunk and a part of the next."""


TILES = {"chunk": 64, "tile": 16}
PIECES = {"chunk": 16, "checkpoint": 32}


@pytest.mark.parametrize(
    ("plugin_id", "knobs"),
    [
        ("chunkwise.sigmoid_mlstm_tiled", TILES),
        ("chunkwise.exponential_mlstm_tiled", TILES),
        ("chunkwise.linear_attention_tiled", TILES),
        ("chunkwise.sigmoid_mlstm_fused", PIECES),
        ("chunkwise.exponential_mlstm_fused", PIECES),
        ("chunkwise.linear_attention_fused", PIECES),
        ("fusion.gated_readout", PIECES),
    ],
)
def test_packed_sequences_of_several_chunks_keep_their_paths_apart(plugin_id, knobs):
    plugin = load(plugin_id)
    op = find(plugin.op or "")
    dims = {"T": ENDS[-1], "H": 2, "K": 3, "V": 5}
    given = to(op.inputs({"B": 1, **dims}), torch.float32)
    given["h0"] = op.inputs({"B": len(ENDS) - 1, **dims})["h0"].float()

    def packed(**inputs: torch.Tensor):
        assert plugin.run is not None
        return plugin.run(**inputs, cu_seqlens=torch.tensor(ENDS), **knobs)

    def apart(**inputs: torch.Tensor):
        found = []
        for i, (start, stop) in enumerate(itertools.pairwise(ENDS)):
            state = inputs["h0"][i : i + 1]
            alone = {name: x[:, start:stop] for name, x in inputs.items() if name != "h0"}
            empty = (inputs["v"][:, :0], state)
            found.append(op(**alone, h0=state) if stop > start else empty)
        return torch.cat([o for o, _ in found], dim=1), torch.cat([state for _, state in found])

    with interpret():
        mine = gradients(packed, given)
    truth, plain = gradients(apart, to(given, torch.float64)), gradients(apart, given)
    for found in compare_all("gradient of ", mine, truth, plain, torch.float32):
        assert found.excess <= 1, found
