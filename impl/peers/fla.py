# pyright: reportMissingImports=false
"""flash-linear-attention: the chunkwise Triton kernels the field measures itself against.

Each call below is one public operator of fla-core with its hidden scaling of the query switched off.
The kernels take half precision; states are float32 inside and rounded on return, as every plugin's
are.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.registry import implements

Result = tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]


@implements(
    "gated_linear_attention",
    source="S. Yang et al., ICML 2024, arXiv:2312.06635; fla-core",
    needs=("fla", "triton"),
    accepts={"dtype": ["bfloat16", "float16"], "K": {"at_most": 256}},
)
def chunk_gla(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    cu_seqlens: Tensor | None = None,
) -> Result:
    """``S[t] = exp(g)[:, None] * S[t-1] + k v^T``, ``o = S^T q`` by fla's chunk_gla."""
    from fla.ops.gla import chunk_gla as kernel

    _check(chunk_gla, q, k, v, g, h0)
    o, state = kernel(q, k, v, g, scale=1.0, cu_seqlens=_long(cu_seqlens), **_states(h0))
    return o, state.to(v.dtype)


@implements(
    "ssd",
    source="S. Yang and Y. Zhang, flash-linear-attention, 2024, github.com/fla-org; fla-core",
    needs=("fla", "triton"),
    accepts={"dtype": ["bfloat16", "float16"], "N": {"at_most": 256}},
)
def chunk_simple_gla(
    x: Float[Tensor, "B T H P"],
    dt: Float[Tensor, "B T H"],
    a: Float[Tensor, " H"],
    b: Float[Tensor, "B T G N"],
    c: Float[Tensor, "B T G N"],
    h0: Float[Tensor, "B H N P"] | None = None,
    *,
    cu_seqlens: Tensor | None = None,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H N P"]]:
    """``S[t] = exp(dt a) S[t-1] + dt b x^T``, ``o = S^T c`` by fla's chunk_simple_gla.

    The kernel knows neither dt nor groups: dt scales x and the groups are repeated beforehand,
    which is traffic the op itself does not need and the trace counts.
    """
    from fla.ops.simple_gla import chunk_simple_gla as kernel

    size = _check(chunk_simple_gla, x, dt, a, b, c, h0)
    repeats = size["H"] // size["G"]
    b, c = (each.repeat_interleave(repeats, dim=2) for each in (b, c))
    g = dt.float() * a.float()
    v = x * dt[..., None]
    o, state = kernel(c, b, v, g, scale=1.0, cu_seqlens=_long(cu_seqlens), **_states(h0))
    return o, state.to(x.dtype)


@implements(
    "delta_rule",
    source="S. Yang et al., NeurIPS 2024, arXiv:2406.06484; fla-core",
    needs=("fla", "triton"),
    accepts={"dtype": ["bfloat16", "float16"], "K": {"at_most": 256}},
)
def chunk_delta_rule(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    cu_seqlens: Tensor | None = None,
) -> Result:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q`` by fla's chunk_delta_rule."""
    from fla.ops.delta_rule import chunk_delta_rule as kernel

    _check(chunk_delta_rule, q, k, v, beta, h0)
    o, state = kernel(q, k, v, beta, scale=1.0, cu_seqlens=_long(cu_seqlens), **_states(h0))
    return o, state.to(v.dtype)


@implements(
    "gated_delta_rule",
    source="S. Yang, J. Kautz and A. Hatamizadeh, ICLR 2025, arXiv:2412.06464; fla-core",
    needs=("fla", "triton"),
    accepts={"dtype": ["bfloat16", "float16"], "K": {"at_most": 256}},
    excuses={
        "backward@cpu": "interpreted, the gradient of g errs 1.3 times the bound in bfloat16",
    },
)
def chunk_gated_delta_rule(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    cu_seqlens: Tensor | None = None,
) -> Result:
    """The delta rule on ``exp(g) S[t-1]`` by fla's chunk_gated_delta_rule."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule as kernel

    _check(chunk_gated_delta_rule, q, k, v, beta, g, h0)
    # the gate in float32, as the operator documents it
    o, state = kernel(
        q, k, v, g.float(), beta.float(), scale=1.0, cu_seqlens=_long(cu_seqlens), **_states(h0)
    )
    return o, state.to(v.dtype)


@implements(
    "channel_gated_delta_rule",
    source="Kimi Team, 2025, arXiv:2510.26692; fla-core",
    needs=("fla", "triton"),
    accepts={"dtype": ["bfloat16", "float16"], "K": {"at_most": 256}},
)
def chunk_kda(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    cu_seqlens: Tensor | None = None,
) -> Result:
    """The delta rule on ``exp(g)[:, None] * S[t-1]`` by fla's chunk_kda."""
    from fla.ops.kda import chunk_kda as kernel

    _check(chunk_kda, q, k, v, beta, g, h0)
    o, state = kernel(
        q, k, v, g.float(), beta.float(), scale=1.0, cu_seqlens=_long(cu_seqlens), **_states(h0)
    )
    return o, state.to(v.dtype)


@implements(
    "generalised_delta_rule",
    source="B. Peng et al., 2025, arXiv:2503.14456; fla-core",
    needs=("fla", "triton"),
    accepts={"dtype": ["bfloat16", "float16"], "K": {"at_most": 256}},
)
def chunk_dplr_delta_rule(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    kappa: Float[Tensor, "B T H K"],
    eta: Float[Tensor, "B T H K"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    cu_seqlens: Tensor | None = None,
) -> Result:
    """``S[t] = (diag(exp(g)) - (eta * kappa) kappa^T) S[t-1] + k v^T`` by the kernel of fla's RWKV-7.

    The kernel adds ``b a^T``: both are made beforehand, which is traffic that the trace counts.
    """
    from fla.ops.generalized_delta_rule import chunk_dplr_delta_rule as kernel

    _check(chunk_dplr_delta_rule, q, k, v, kappa, eta, g, h0)
    o, state = kernel(
        q, k, v, -kappa, eta * kappa, g, scale=1.0, cu_seqlens=_long(cu_seqlens), **_states(h0)
    )
    return o, state.to(v.dtype)


def _check(plugin, *inputs: Tensor | None) -> dict[str, int]:
    size = axis_sizes(plugin, *inputs)
    key = "K" if "K" in size else "N"
    first = inputs[0]
    assert first is not None
    if size[key] > 256:
        raise ValueError(f"{key}={size[key]}, want at most 256")
    if first.dtype not in (torch.bfloat16, torch.float16):
        raise ValueError(f"dtype={first.dtype}, want bfloat16 or float16")
    return size


def _states(h0: Tensor | None) -> dict[str, Tensor | bool | None]:
    return {"initial_state": None if h0 is None else h0.float(), "output_final_state": True}


def _long(cu_seqlens: Tensor | None) -> Tensor | None:
    return None if cu_seqlens is None else cu_seqlens.long()
