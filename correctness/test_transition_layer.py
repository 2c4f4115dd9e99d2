"""The layer around every transition writes a key times a value: its laws hold for any other write too."""

import torch
from torch.nn import functional

from impl.registry import load


def test_the_first_token_is_written_as_its_key_times_its_value() -> None:
    torch.manual_seed(0)
    made = load("transitions.dense").run
    assert made is not None
    layer = made(16, keys=4, values=8)
    x = torch.randn(2, 1, 16)
    # whatever the transition, it acts on a state of zeros
    _, state = layer.step(x[:, 0], layer.initial(2))
    k = functional.normalize(functional.silu(x[:, 0] @ layer.k.weight.T), dim=-1)
    torch.testing.assert_close(state, torch.einsum("bn,bv->bnv", k, x[:, 0] @ layer.v.weight.T))
