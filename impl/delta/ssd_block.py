"""Block-semiseparable form: the delta rule cut into blocks as Mamba-2 cuts its SSM.

The map from values to outputs is a lower triangular matrix. Its diagonal blocks of Q steps are
dense, one small triangular solve each:

    [W | Y] = (I + A)^-1 diag(beta) [K | V],   A = diag(beta) K K^T below the diagonal.

Its blocks off the diagonal have rank K: a block moves the state by S -> S - K^T W S + K^T Y. The
blocks i of a chunk of C steps compose, for all chunks at once, to S -> S - P S + H by

    [P | H][i+1] = [P | H][i] + K[i]^T ([W | Y][i] - W[i] [P | H][i]),

the chunks are walked, and every block reads from its own start S, with U = Y - W S,

    O = Q S + tril(Q K^T) U.

Against one solve of C steps it trades C^2 (K + V) / 2 multiply-adds a chunk, in one triangular
call, for C Q (K + V) / 2 in smaller solves and 2 C K (K + V) in matrix products, and it stores the
transition [P | H], K (K + V) elements, of every block.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.common.heads import repeat_heads
from impl.registry import implements


@implements(
    "delta_rule",
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060; S. Yang et al., NeurIPS 2024,"
    " arXiv:2406.06484",
    trick="semiseparable-block-decomposition",
    knobs={"chunk": (64, 128), "block": (8, 16, 32)},
)
def ssd_block(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    block: int = 16,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``; ``block`` divides ``chunk``."""
    size = axis_sizes(ssd_block, q, k, v, beta, h0)
    q, k = (repeat_heads(x, size["H"]) for x in (q, k))
    widths = [size["K"], size["V"]]
    chunk = min(chunk, -(-size["T"] // block) * block)
    Q, K, V, b = (cut(x, chunk).unflatten(3, (-1, block)) for x in (q, k, v, beta))
    b = b[..., None]  # [B, H, chunks, blocks, block, 1]
    WY = torch.linalg.solve_triangular(
        b * (K @ K.mT), b * torch.cat([K, V], dim=-1), upper=False, unitriangular=True
    )
    W, Y = WY.split(widths, dim=-1)
    before, whole = _transitions(K, W, WY)
    P, H = whole.split(widths, dim=-1)
    starts, state = _walk(P, H, h0)
    P, H = before.split(widths, dim=-1)
    S = starts - P @ starts + H  # [B, H, chunks, blocks, K, V]
    o = Q @ S + (Q @ K.mT).tril() @ (Y - W @ S)
    return join(o.flatten(3, 4), size["T"]).to(v.dtype), state.to(v.dtype)


def _transitions(K: Tensor, W: Tensor, WY: Tensor) -> tuple[Tensor, Tensor]:
    """``[P | H]`` of a chunk before each of its blocks, and after the last."""
    now = torch.zeros_like(K[:, :, :, 0].mT @ WY[:, :, :, 0])
    before = []
    for i in range(K.shape[3]):
        before.append(now)
        now = now + K[:, :, :, i].mT @ (WY[:, :, :, i] - W[:, :, :, i] @ now)
    return torch.stack(before, dim=3), now


def _walk(P: Tensor, H: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor]:
    """The state each chunk starts from, and the last."""
    state = torch.zeros_like(H[:, :, 0]) if h0 is None else h0.to(H.dtype)
    starts = []
    for n in range(H.shape[2]):
        starts.append(state)
        state = state - P[:, :, n] @ state + H[:, :, n]
    return torch.stack(starts, dim=2)[:, :, :, None], state
