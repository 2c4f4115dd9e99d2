"""Softmax attention: every position reads every earlier one, weighted by a softmax.

    o[t] = sum_{s <= t} softmax_s(q[t] . k[s] / sqrt(K)) v[s]

The exact memory the others are measured against. It pays with a state that grows: 2 T D elements a
sequence after T tokens, all of them read again for the next one.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.heads import head_width, merge, split
from impl.registry import mixer


@mixer("softmax_attention", source="A. Vaswani et al., NeurIPS 2017, arXiv:1706.03762")
class Softmax(nn.Module):
    """``W_o softmax(q k^T / sqrt(K)) v``, causal, without positions."""

    def __init__(self, width: int, *, heads: int = 1) -> None:
        super().__init__()
        self.heads, self.width, self.channels = heads, width, head_width(width, heads)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        q, k, v = (split(project(x), self.heads) for project in (self.q, self.k, self.v))
        o = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(merge(o))

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor, Tensor]]:
        """Append one key and one value, then attend to all of them."""
        q, k, v = (split(project(x)[:, None], self.heads) for project in (self.q, self.k, self.v))
        keys, values = torch.cat([state[0], k], dim=2), torch.cat([state[1], v], dim=2)
        o = functional.scaled_dot_product_attention(q, keys, values)
        return self.o(merge(o))[:, 0], (keys, values)

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "B H 0 K"], Float[Tensor, "B H 0 K"]]:
        """No keys and no values yet."""
        empty = torch.zeros(batch, self.heads, 0, self.channels, device=device, dtype=dtype)
        return empty, empty

    def state_size(self, length: int) -> int:
        """Elements: a key and a value for each of the ``length`` tokens read."""
        return 2 * length * self.width
