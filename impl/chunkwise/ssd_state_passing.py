"""SSD with states passed on through HBM: what each chunk adds, then the sums, then the outputs.

    fresh      F_n = B^T (to X)                   a program a chunk and head
    passing    S_n = from[last] S_(n-1) + F_n     a program a head and slice of the state
    chain      O = (C B^T * L) X + from C S_(n-1)     a program a chunk and head

Every product runs in as many programs as there are chunks, and only additions wait for one another.
It pays with every state written and read twice, and with F_n rounded to the dtype of the inputs.
Backwards the states are walked, from the right, as where they are walked forwards.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import at_most, sequence_sizes
from impl.common.ssd_chunks import WIDEST, ssd_in_chunks
from impl.registry import implements


@implements(
    "ssd",
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060",
    trick="semiseparable-block-decomposition",
    needs=("triton",),
    accepts={
        "P": {"at_most": 256},
        "N": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 64)},
)
def ssd_state_passing(
    x: Float[Tensor, "B T H P"],
    dt: Float[Tensor, "B T H"],
    a: Float[Tensor, " H"],
    b: Float[Tensor, "B T G N"],
    c: Float[Tensor, "B T G N"],
    h0: Float[Tensor, "B H N P"] | None = None,
    *,
    chunk: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H N P"]]:
    """``S[t] = exp(dt a) S[t-1] + dt b x^T``, ``o = S^T c``; states are added in float32.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(ssd_state_passing, x, dt, a, b, c, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, P=WIDEST, N=WIDEST)
    return ssd_in_chunks(x, dt, a, b, c, h0, cu_seqlens, sizes, chunk, passed=True)
