"""Problems with G heads of q and k for H of v: what they weigh, and who does not take them."""

import pytest
import torch

from correctness.case import Case
from correctness.op import find
from impl.registry import load

SHARED = {"B": 1, "T": 5, "H": 4, "G": 2, "K": 3, "V": 7}


def test_shared_heads_weigh_once() -> None:
    op = find("linear_attention")
    apart = {axis: size for axis, size in SHARED.items() if axis != "G"}
    # q and k, two heads each less
    fewer = 2 * 2 * SHARED["T"] * SHARED["K"] * torch.float32.itemsize
    assert op.inputs(SHARED)["q"].shape == (1, 5, 2, 3)
    assert op.compulsory_bytes(apart, torch.float32) - fewer == op.compulsory_bytes(
        SHARED, torch.float32
    )


def test_neighbours_share_a_head() -> None:
    op = find("linear_attention")
    given = op.inputs(SHARED)
    copied = {name: given[name].repeat_interleave(2, dim=2) for name in "qk"}
    for mine, its in zip(op(**given), op(**given | copied), strict=True):
        assert torch.equal(mine, its)


def test_a_plugin_that_shares_no_heads_says_so() -> None:
    plugin = load("chunkwise.linear_attention_tiled")
    case = Case(plugin, find("linear_attention"), SHARED, torch.float32)
    assert case.refusal() == "G=2, want as many as H=4: takes no grouped heads"
    with pytest.raises(ValueError, match="for sigmoid_mlstm, want B"):
        find("sigmoid_mlstm").check_dims(SHARED)
