"""What a kernel computes on Hopper and later alone is right too, though no card is here: told it is one."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from correctness.case import Case
from correctness.op import find
from impl import common
from impl.common.delta_chunks import query_rows
from impl.registry import index, load

ASKS = "cuda_capability_geq"
"""The question that kernels ask of their card; in the interpreter, which has none, the answer is no."""
ASKING = {
    "delta_chunks": ["delta.product_fused"],
    "dplr_chunks": ["dplr.channel_gated_fused", "dplr.generalised_fused"],
}
# three corrections a token do not fill a chunk
UNEVEN = {"B": 1, "T": 67, "H": 1, "G": 1, "R": 3, "K": 24, "V": 40}


@pytest.mark.parametrize(
    ("module", "plugin_id"), [(each, plugin) for each in ASKING for plugin in ASKING[each]]
)
def test_what_a_newer_card_computes_is_right(
    module: str, plugin_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(f"impl.common.{module}.{ASKS}", lambda major: asked.append(major) or True)
    op = find(index()[plugin_id].op or "")
    sizes = {axis: UNEVEN[axis] for axis in op.axes()}
    case = Case(load(plugin_id), op, sizes, torch.bfloat16)
    assert case.refusal() is None
    inputs = case.inputs()
    found = case.compare(case.run(inputs), inputs)
    found += case.compare_gradients(case.gradients(inputs), inputs)
    assert not [each for each in found if not each.excess <= 1]
    assert asked


def test_queries_fill_the_rows_of_an_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    # corrections a token and a chunk; only from Hopper on does an instruction take 64 rows
    cases = [(1, 64), (2, 64), (3, 64), (16, 64), (2, 32)]
    assert [query_rows(*each) for each in cases] == [64, 32, 32, 16, 16]
    monkeypatch.setattr(f"impl.common.delta_chunks.{ASKS}", lambda major: major == 9)
    assert [query_rows(*each) for each in cases] == [64, 64, 64, 64, 32]


def test_every_module_that_asks_is_among_these() -> None:
    files = Path(common.__file__).parents[1].rglob("*.py")
    assert {each.stem for each in files if ASKS in each.read_text()} == set(ASKING)
