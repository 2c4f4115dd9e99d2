"""DeltaProduct as a delta rule on an inflated sequence: every correction becomes a token.

    q'[R t + j] = q[t] where j = R - 1, else 0,   o[t] = o'[R t + R - 1]

k, v and beta are R T tokens as they lie. The kernel of the delta rule serves as it is; it pays by
writing and reading R T rows of queries, of which T are not zero, and writing R T rows of outputs,
of which T are kept, and by R times the multiply-adds of the products with Q.
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from impl.common.delta_walk import WIDEST, delta_walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "delta_product",
    source="J. Siems et al., NeurIPS 2025, arXiv:2502.10297",
    trick="deltaproduct",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64)},
)
def product_inflated(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T R G K"],
    v: Float[Tensor, "B T R H V"],
    beta: Float[Tensor, "B T R H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """R delta rules a token, ``o = S^T q`` after the last; ``chunk`` corrections at a time.

    In float32 16 at most. The state is float32 on chip. Head h of v reads group h // (H / G) of q and k. With ``cu_seqlens``,
    which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(product_inflated, q, k, v, beta, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    R = sizes.pop("R")
    inflated = functional.pad(q[:, :, None], (0, 0, 0, 0, R - 1, 0)).flatten(1, 2)
    k, v, beta = (x.flatten(1, 2) for x in (k, v, beta))
    ends = None if cu_seqlens is None else cu_seqlens * R
    # ``chunk`` again: a state is kept at each of them
    o, state = delta_walk(
        inflated, k, v, beta, None, h0, ends, sizes | {"T": R * sizes["T"]}, chunk, chunk
    )
    return o[:, R - 1 :: R], state
