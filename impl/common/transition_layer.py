"""Transition layer: everything of a mixer but the transition, the same for every transition.

    h[t] = A(x[t]) h[t-1] + k[t] v[t]^T,   y[t] = W_o norm(q[t] h[t])

with h of ``keys`` x ``values`` elements, a unit key k[t], and as many queries q[t] a token as make
the output as wide as the input. A subclass says how A(x[t]) acts, and nothing else, so that two
transitions are compared and not two layers.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class TransitionLayer(nn.Module):
    """Keys, values, queries and output; ``states`` is the subclass's."""

    def __init__(self, width: int, *, heads: int, keys: int, values: int) -> None:
        super().__init__()
        if heads != 1:
            raise ValueError(f"heads={heads}, want 1: the state is one matrix")
        if width % values:
            raise ValueError(f"width={width}, want a multiple of values={values}")
        self.keys, self.values, self.reads = keys, values, width // values
        self.q = nn.Linear(width, self.reads * keys, bias=False)
        self.k = nn.Linear(width, keys, bias=False)
        self.v = nn.Linear(width, values, bias=False)
        self.o = nn.Linear(width, width, bias=False)
        self.norm = nn.RMSNorm(values)

    def states(
        self,
        x: Float[Tensor, "B T D"],
        b: Float[Tensor, "B T N V"],
        h0: Float[Tensor, "B N V"] | None,
    ) -> Float[Tensor, "B T N V"]:
        """``h[t] = A(x[t]) h[t-1] + b[t]`` from ``h0``, or from zeros."""
        raise NotImplementedError

    def write(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T N V"]:
        """``k v^T``, what a token adds to the state."""
        k = functional.normalize(functional.silu(self.k(x)), dim=-1)
        return k[..., :, None] * self.v(x)[..., None, :]

    def read(self, x: Float[Tensor, "B T D"], h: Float[Tensor, "B T N V"]) -> Tensor:
        """``W_o norm(q h)``, every query normalised by itself."""
        q = self.q(x).unflatten(-1, (self.reads, self.keys))
        return self.o(self.norm(q @ h).flatten(-2))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.read(x, self.states(x, self.write(x), None))

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B N V"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B N V"]]:
        """One more token."""
        token = x[:, None]
        h = self.states(token, self.write(token), state)
        return self.read(token, h)[:, 0], h[:, 0]

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B N V"]:
        """Zeros."""
        return torch.zeros(batch, self.keys, self.values, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Elements of ``h``, at any length."""
        return self.keys * self.values
