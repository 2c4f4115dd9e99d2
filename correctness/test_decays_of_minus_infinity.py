"""A channel whose decay is minus infinity is forgotten, as one whose decay rounds to zero: no NaN of 0 * inf."""

import math

import pytest
import torch

from correctness.case import Case
from correctness.op import find
from impl.registry import load

SIZES = {"B": 1, "T": 70, "H": 2, "K": 16, "V": 16}
FORGOTTEN = [3, 40, 66]
"""Steps in both halves of a chunk of 64, and behind it."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_minus_infinity_decays_to_zero(dtype: torch.dtype) -> None:
    op = find("gated_linear_attention")
    case = Case(load("chunkwise.gla_fused"), op, SIZES, dtype)
    answers = []
    # float32 has no number as small as the exponential of the first
    for low in (-200.0, -math.inf):
        given = {name: x.to(dtype) for name, x in op.inputs(SIZES).items()}
        given["g"][:, FORGOTTEN, :, :5] = low
        answers.append([*case.run(given), *case.gradients(given).values()])
    assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))
    assert all(x.abs().sum() > 0 for x in answers[0])
