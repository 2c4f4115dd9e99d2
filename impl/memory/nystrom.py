"""Nystroem landmarks: a chunkwise memory that keeps some rows and columns of its state between chunks.

    S[t] = alpha[t] S[t-1] + k[t] v[t]^T,   o[t] = S[t]^T q[t]      inside a chunk
    S <- S[:, L] W^+ S[L, :],   W = S[L, L]                         at every border

with L the first m of N keys and values. N^2 numbers become 2 N m - m^2: the landmarks' rows and columns.
What is kept is exact where S has rank m and its landmarks span it; of a state of full rank N - m
directions are lost at every border, whatever they held. The inverse is damped, W^T (W W^T + c I)^-1 with c
a share of W's own size, for W may be singular and its inverse then has no gradient.

A border costs N^2 m + N m^2 + m^3 multiply-adds beside the chunk's C^2 N + C N^2.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.registry import mixer

DAMPING = 1e-3
"""Share of the mean square of W's rows that is added before it is inverted."""


def compressed(state: Float[Tensor, "*B N N"], landmarks: int) -> Float[Tensor, "*B N N"]:
    """``S[:, L] W^+ S[L, :]`` of the first ``landmarks`` rows and columns."""
    columns, rows = state[..., :landmarks], state[..., :landmarks, :]
    corner = rows[..., :landmarks]
    square = corner @ corner.mT
    size = square.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    # a state of zeros has nothing to invert: any positive damping will do
    damped = square + (DAMPING * size + torch.finfo(state.dtype).tiny ** 0.5) * torch.eye(
        landmarks, dtype=state.dtype, device=state.device
    )
    return columns @ (corner.mT @ torch.linalg.solve(damped, rows))


@mixer(
    source="C. K. I. Williams and M. Seeger, NeurIPS 2000; Y. Xiong et al., AAAI 2021, arXiv:2102.03902",
    trick="nystrom-landmark-compression",
    knobs={"landmarks": (0, 2, 8), "chunk": (4, 8), "keys": (8, 32, 128)},
)
class Nystrom(nn.Module):
    """``W_o norm(S^T q)``; 0 landmarks keep the whole state, and so is the control."""

    def __init__(
        self, width: int, *, heads: int = 1, keys: int = 8, landmarks: int = 2, chunk: int = 8
    ) -> None:
        super().__init__()
        if heads != 1:
            raise ValueError(f"heads={heads}, want 1: the state is one matrix")
        if landmarks > keys:
            raise ValueError(f"landmarks={landmarks}, want at most keys={keys}")
        self.keys, self.landmarks, self.chunk = keys, landmarks, chunk
        self.q, self.k, self.v = (nn.Linear(width, keys, bias=False) for _ in range(3))
        self.a = nn.Linear(width, 1)
        # remembers 56 tokens before training
        nn.init.constant_(self.a.bias, 4.0)
        self.o = nn.Linear(keys, width, bias=False)
        self.norm = nn.RMSNorm(keys)

    def project(self, x: Float[Tensor, "*B D"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, unit keys, values and log decays."""
        k = functional.normalize(functional.silu(self.k(x)), dim=-1)
        return self.q(x), k, self.v(x), functional.logsigmoid(self.a(x))

    def border(self, state: Tensor) -> Tensor:
        """What of the state passes into the next chunk."""
        return compressed(state, self.landmarks) if self.landmarks else state

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        state, read = x.new_zeros(len(x), self.keys, self.keys), []
        for part in x.split(self.chunk, dim=1):
            q, k, v, g = self.project(part)
            total = g.cumsum(1)
            # masked before the exponential: above the diagonal it could overflow
            decay = (total - total.mT).tril().exp()
            o = ((q @ k.mT) * decay).tril() @ v + total.exp() * (q @ state)
            kept = (total[:, -1:] - total).exp() * k
            state = total[:, -1:].exp() * state + kept.mT @ v
            read.append(o)
            if part.shape[1] == self.chunk:
                state = self.border(state)
        return self.o(self.norm(torch.cat(read, dim=1)))

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor, Tensor]]:
        """One token of the recurrence above; the state holds the tokens of its chunk too."""
        memory, done = state
        q, k, v, g = self.project(x)
        memory = g.exp()[..., None] * memory + k[..., :, None] * v[..., None, :]
        o = (q[..., None, :] @ memory)[..., 0, :]
        done = done + 1
        full = (done == self.chunk)[:, None, None]
        memory = torch.where(full, self.border(memory), memory)
        return self.o(self.norm(o)), (memory, torch.where(done == self.chunk, 0.0, done))

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "B N N"], Float[Tensor, " B"]]:
        """Zeros at the start of a chunk."""
        memory = torch.zeros(batch, self.keys, self.keys, device=device, dtype=dtype)
        return memory, memory[:, 0, 0].clone()

    def state_size(self, length: int) -> int:
        """Elements inside a chunk, the most that there are: the state and the tokens of the chunk.

        Between chunks 2 N m - m^2 of them stand for the state.
        """
        return self.keys**2 + 1
