"""mamba-ssm: the authors' own Triton kernels for the state-space duality of Mamba-2."""

import functools
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.registry import implements


@implements(
    "ssd",
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060; mamba-ssm",
    needs=("mamba_ssm", "einops", "triton", "cuda"),
    accepts={"dtype": ["bfloat16", "float16"], "P": {"multiple_of": 8}},
    knobs={"chunk": (64, 128, 256)},
)
def mamba_chunk_scan_combined(
    x: Float[Tensor, "B T H P"],
    dt: Float[Tensor, "B T H"],
    a: Float[Tensor, " H"],
    b: Float[Tensor, "B T G N"],
    c: Float[Tensor, "B T G N"],
    h0: Float[Tensor, "B H N P"] | None = None,
    *,
    chunk: int = 256,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H N P"]]:
    """``S[t] = exp(dt a) S[t-1] + dt b x^T``, ``o = S^T c``; no skip, no gate, dt as it is given."""
    size = axis_sizes(mamba_chunk_scan_combined, x, dt, a, b, c, h0)
    if size["P"] % 8:
        raise ValueError(f"P={size['P']}, want a multiple of 8")
    if x.dtype not in (torch.bfloat16, torch.float16):
        raise ValueError(f"dtype={x.dtype}, want bfloat16 or float16")
    # the peer keeps its states as P x N
    initial = None if h0 is None else h0.transpose(-1, -2).contiguous()
    o, state = _kernel()(
        x, dt, a, b, c, chunk_size=chunk, initial_states=initial, return_final_states=True
    )
    return o, state.transpose(-1, -2).to(x.dtype)


@functools.cache
def _kernel() -> Callable[..., Any]:
    """The operator's module, without the package's own ``__init__``.

    That imports CUDA extensions which a wheel built without nvcc does not have, and which the Triton
    path does not use.
    """
    if "mamba_ssm" not in sys.modules:
        spec = importlib.util.find_spec("mamba_ssm")
        assert spec is not None and spec.submodule_search_locations is not None
        package = ModuleType("mamba_ssm")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = importlib.machinery.ModuleSpec("mamba_ssm", None, is_package=True)
        sys.modules["mamba_ssm"] = package
    return importlib.import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined
