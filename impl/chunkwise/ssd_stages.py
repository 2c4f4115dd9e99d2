"""SSD with the chain inside a chunk in stages: one kernel a product, each result through HBM.

    scores     C B^T                    a program a chunk and group, float32
    weights    P = C B^T * L            a program a chunk and head, in the dtype of the inputs
    outputs    O = P X + from C S       a program a chunk and head

after the walk that leaves the states S. L is the decay between two steps of the chunk and 0 above
the diagonal, X = dt x. Backwards it is the same as with the chain in one kernel. It pays with C^2
scores of a group and C^2 weights of a head for each chunk, written and read, and with two launches.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import at_most, sequence_sizes
from impl.common.ssd_chunks import WIDEST, ssd_in_chunks
from impl.registry import implements


@implements(
    "ssd",
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060",
    trick="chunkwise-parallel-scan",
    needs=("triton",),
    accepts={
        "P": {"at_most": 256},
        "N": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 64)},
)
def ssd_stages(
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
    sizes = sequence_sizes(ssd_stages, x, dt, a, b, c, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, P=WIDEST, N=WIDEST)
    return ssd_in_chunks(x, dt, a, b, c, h0, cu_seqlens, sizes, chunk, staged=True)
