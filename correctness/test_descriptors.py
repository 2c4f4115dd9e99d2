"""Tiles that come through a tensor descriptor are those that come through pointers, bit for bit."""

import types
from dataclasses import replace

import pytest
import torch

from correctness.case import Case
from correctness.op import find
from impl.common.descriptors import describable, described
from impl.registry import index, load

DESCRIBED = [each.id for each in index().values() if "descriptors" in each.knobs]
# past the end of a sequence lies the next one, past the columns of a head the next head
UNEVEN = {"B": 2, "T": 19, "H": 2, "K": 24, "V": 40}
WHOLE = {"B": 2, "T": 32, "H": 2, "K": 32, "V": 64}
PLAIN = "chunkwise.linear_attention_fused"


def _answers(plugin_id: str, given: dict, dtype: torch.dtype, knobs: dict, **more) -> list:
    """Outputs and gradients."""
    case = Case(load(plugin_id), find(index()[plugin_id].op or ""), UNEVEN, dtype)
    case = replace(case, knobs={"chunk": 16, "checkpoint": 16, **knobs})
    given = {name: x.to(dtype) for name, x in given.items()}
    return [*case.run(given, **more), *case.gradients(given, **more).values()]


def _same(plugin_id: str, given: dict, dtype: torch.dtype = torch.float32, **more) -> None:
    mine, its = (
        _answers(plugin_id, given, dtype, {"descriptors": each}, **more) for each in (True, False)
    )
    assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))
    assert all(x.abs().sum() > 0 for x in mine)


def _packed(plugin_id: str, sizes: dict, dtype: torch.dtype = torch.float32) -> None:
    op = find(index()[plugin_id].op or "")
    given, limits = op.inputs(sizes | {"B": 1}), torch.tensor([0, 2, 2, sizes["T"]])
    given["h0"] = op.inputs(sizes | {"B": len(limits) - 1})["h0"]
    _same(plugin_id, given, dtype, cu_seqlens=limits)


@pytest.mark.parametrize("plugin_id", DESCRIBED)
def test_uneven_packed_sequences_have_the_same_answers(plugin_id: str) -> None:
    _packed(plugin_id, UNEVEN)


@pytest.mark.parametrize("axis", ["T", "K", "V", "none"])
def test_tiles_uneven_along_one_axis_have_the_same_answers(axis: str) -> None:
    sizes = WHOLE | {name: size for name, size in UNEVEN.items() if name == axis}
    _same(PLAIN, find("linear_attention").inputs(sizes))


def test_whole_tiles_of_packed_sequences_have_the_same_answers() -> None:
    _packed(PLAIN, WHOLE, torch.bfloat16)


def test_shared_heads_have_the_same_answers() -> None:
    _same(PLAIN, find("linear_attention").inputs(UNEVEN | {"H": 4, "G": 2}))


@pytest.mark.parametrize("plugin_id", DESCRIBED)
def test_rows_that_start_anywhere_are_refused(plugin_id: str) -> None:
    given = find(index()[plugin_id].op or "").inputs(UNEVEN | {"K": 13, "H": 1})
    # 13 numbers of 4 bytes
    with pytest.raises(ValueError, match="52 bytes a row with descriptors, want"):
        _answers(plugin_id, given, torch.float32, {"descriptors": True})


def test_a_tensor_that_starts_anywhere_is_moved() -> None:
    shifted = torch.arange(65.0)[1:].view(1, 2, 2, 16)
    assert shifted.data_ptr() % 16
    found = described(shifted, 16, 16)
    assert found is not None
    assert found.base.data_ptr() % 16 == 0
    assert torch.equal(found.base.view_as(shifted), shifted)


def test_cards_without_the_engine_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    x = types.SimpleNamespace(
        shape=torch.Size((1, 1, 1, 16)), dtype=torch.float32, is_cuda=True, device="cuda"
    )
    with pytest.raises(ValueError, match=r"capability \(8, 0\) with descriptors, want at least"):
        describable(x)  # pyright: ignore[reportArgumentType]
