"""GEMM chain: both products inside a chunk of SSD and the decay between them in one kernel.

    O = (C B^T * L) X + from C S

with one program a chunk and head, after the walk that leaves the states S. Blocks of the chain can
be visited in any order of its four axes: i and j, the steps read and written, n and p, the state's.
With b_i steps i and b_j steps j on chip at a time, C_ steps a chunk and i outermost, a head moves

    C_ N + C_ P + (C_ / b_i) (C_ N + C_ P)    numbers: C and O once, B and X for every block of i,

and with j outermost as many reads and each O written and read again C_ / b_j times, for sums over
j would go through HBM. n innermost finishes a block of scores before p uses it; any other place
would recompute scores for each block of p or hold partial ones. So the order is i, j, n, p and the
best b_i is C_, which fits at 64 steps and N = P = 128: the chain then moves every operand once, the
least there is, and neither C B^T nor C B^T * L ever leaves the chip.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import at_most, sequence_sizes
from impl.common.ssd_chunks import WIDEST, ssd_in_chunks
from impl.registry import implements


@implements(
    "ssd",
    source="S. Zheng et al., Chimera, HPCA 2023, doi:10.1109/HPCA56546.2023.10071018",
    trick="chimera-gemm-chain-fusion",
    needs=("triton",),
    accepts={
        "P": {"at_most": 256},
        "N": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 64)},
)
def gemm_chain(
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
    """``S[t] = exp(dt a) S[t-1] + dt b x^T``, ``o = S^T c``; the state is summed in float32.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(gemm_chain, x, dt, a, b, c, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, P=WIDEST, N=WIDEST)
    return ssd_in_chunks(x, dt, a, b, c, h0, cu_seqlens, sizes, chunk)
