"""Recurrent step: decoding, a token or a few at a time, for each of the families of linear RNNs.

    S[t] = decay S[t-1] + k w^T,    o[t] = S[t]^T q[t]

as `impl/common/state_step.py` takes it. A form by chunks computes C x C scores for one row of them and
holds a chunk's tiles; this one computes nothing that is not asked for, K V (2 or 3) multiply-adds a
step, and moves the state once. It pays with T dependent steps, so it is for the few steps of decoding
and of drafts that are checked, not for prompts. The new state is a new tensor; a caller that wants it
in place copies it.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import at_most, sequence_sizes
from impl.common.state_step import step_states
from impl.registry import implements


@implements(
    "linear_attention",
    source="A. Katharopoulos et al., ICML 2020, arXiv:2006.16236",
    needs=("triton",),
    accepts={"K": {"at_most": 256}, "dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def linear_attention(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = S[t-1] + k v^T``, ``o = S^T q``; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(linear_attention, q, k, v, h0=h0, cu_seqlens=cu_seqlens)
    at_most(size, K=256)
    return step_states(q, k, v, h0, cu_seqlens, size, strip)


@implements(
    "gated_linear_attention",
    source="S. Yang et al., ICML 2024, arXiv:2312.06635",
    needs=("triton",),
    accepts={"K": {"at_most": 256}, "dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def gated_linear_attention(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = exp(g)[:, None] S[t-1] + k v^T``, ``o = S^T q``; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(gated_linear_attention, q, k, v, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(size, K=256)
    return step_states(q, k, v, h0, cu_seqlens, size, strip, g=g)


@implements(
    "ssd",
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060",
    needs=("triton",),
    accepts={"N": {"at_most": 256}, "dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def ssd(
    x: Float[Tensor, "B T H P"],
    dt: Float[Tensor, "B T H"],
    a: Float[Tensor, " H"],
    b: Float[Tensor, "B T G N"],
    c: Float[Tensor, "B T G N"],
    h0: Float[Tensor, "B H N P"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H N P"]]:
    """``S[t] = exp(dt a) S[t-1] + dt b x^T``, ``o = S^T c``; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(ssd, x, dt, a, b, c, h0=h0, cu_seqlens=cu_seqlens)
    at_most(size, N=256)
    return step_states(c, b, x, h0, cu_seqlens, size, strip, rate=dt, a=a)


@implements(
    "delta_rule",
    source="I. Schlag, K. Irie and J. Schmidhuber, ICML 2021, arXiv:2102.11174",
    needs=("triton",),
    accepts={"K": {"at_most": 256}, "dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def delta_rule(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(delta_rule, q, k, v, beta, h0=h0, cu_seqlens=cu_seqlens)
    at_most(size, K=256)
    return step_states(q, k, v, h0, cu_seqlens, size, strip, rate=beta, corrects=True)


@implements(
    "gated_delta_rule",
    source="S. Yang, J. Kautz and A. Hatamizadeh, ICLR 2025, arXiv:2412.06464",
    needs=("triton",),
    accepts={"K": {"at_most": 256}, "dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def gated_delta_rule(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) exp(g) S[t-1] + beta k v^T``, ``o = S^T q``; float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(gated_delta_rule, q, k, v, beta, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(size, K=256)
    return step_states(q, k, v, h0, cu_seqlens, size, strip, rate=beta, g=g, corrects=True)


@implements(
    "channel_gated_delta_rule",
    source="Kimi Team, 2025, arXiv:2510.26692",
    needs=("triton",),
    accepts={"K": {"at_most": 256}, "dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def channel_gated_delta_rule(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S' = exp(g)[:, None] S[t-1]``, then the delta rule on ``S'``, ``o = S^T q``; float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(channel_gated_delta_rule, q, k, v, beta, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(size, K=256)
    return step_states(q, k, v, h0, cu_seqlens, size, strip, rate=beta, g=g, corrects=True)


@implements(
    "delta_product",
    source="J. Siems et al., NeurIPS 2025, arXiv:2502.10297",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "R": {"at_most": 16},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def delta_product(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T R G K"],
    v: Float[Tensor, "B T R H V"],
    beta: Float[Tensor, "B T R H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """R delta rules a token, ``o = S^T q`` after the last; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(delta_product, q, k, v, beta, h0=h0, cu_seqlens=cu_seqlens)
    at_most(size, K=256, R=16)
    return step_states(q, k, v, h0, cu_seqlens, size, strip, rate=beta, corrects=True)


@implements(
    "generalised_delta_rule",
    source="B. Peng et al., RWKV-7, 2025, arXiv:2503.14456",
    needs=("triton",),
    accepts={"K": {"at_most": 256}, "dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def generalised_delta_rule(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    kappa: Float[Tensor, "B T H K"],
    eta: Float[Tensor, "B T H K"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (diag(exp(g)) - (eta kappa) kappa^T) S[t-1] + k v^T``, ``o = S^T q``; float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(
        generalised_delta_rule, q, k, v, kappa, eta, g, h0=h0, cu_seqlens=cu_seqlens
    )
    at_most(size, K=256)
    return step_states(q, k, v, h0, cu_seqlens, size, strip, g=g, kappa=kappa, eta=eta)


@implements(
    "sigmoid_mlstm",
    source="M. Beck, K. Poeppel, P. Lippe and S. Hochreiter, 2025, arXiv:2503.14376",
    needs=("triton",),
    accepts={"K": {"at_most": 256}, "dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def sigmoid_mlstm(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = sigmoid(f) S[t-1] + sigmoid(i) k v^T``, ``o = S^T q``; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(sigmoid_mlstm, q, k, v, i, f, h0=h0, cu_seqlens=cu_seqlens)
    at_most(size, K=256)
    return step_states(q, k, v, h0, cu_seqlens, size, strip, rate=i, f=f, rates="sigmoid")


@implements(
    "exponential_mlstm",
    source="M. Beck et al., xLSTM, NeurIPS 2024, arXiv:2405.04517",
    needs=("triton",),
    accepts={"K": {"at_most": 256}, "dtype": ["float32", "bfloat16", "float16"]},
    knobs={"strip": (16, 32)},
    excuses={"backward": "decoding has no backward pass; inputs that want gradients are refused"},
)
def exponential_mlstm(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V+1"] | None = None,
    *,
    strip: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V+1"]]:
    """``o = C^T q / max(|n . q|, 1)`` and the last ``[C | n]``, float32 on chip; exp(i) writes.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    size = sequence_sizes(exponential_mlstm, q, k, v, i, f, h0=h0, cu_seqlens=cu_seqlens)
    at_most(size, K=256)
    return step_states(
        q, k, v, h0, cu_seqlens, size, strip, rate=i, f=f, rates="exponential", normalised=True
    )
