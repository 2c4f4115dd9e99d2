# pyright: basic, reportArgumentType=false
"""Tensor descriptors: tiles that the card's copy engine brings, of which a program keeps no addresses.

A descriptor takes the place of a pointer to [B, T, H, X] rows; a kernel that asks for a tile at a row
and a column asks for the same tile. Rows and columns past the edge of the tensor come as zeros, those
past the edge of a sequence or of a head are others', and are the kernel's to mask.
"""

import torch
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

ALIGNMENT = 16
"""Bytes of which the copy engine wants every row to start at a multiple."""
CAPABILITY = (9, 0)
"""The first cards that have the engine."""


def describable(x: Tensor) -> None:
    """ValueError where rows of ``x`` [B, T, H, X] cannot be described, or the card has no engine."""
    row = x.shape[2:].numel() * x.dtype.itemsize
    if row % ALIGNMENT:
        raise ValueError(f"{row} bytes a row with descriptors, want a multiple of {ALIGNMENT}")
    if x.is_cuda and (have := torch.cuda.get_device_capability(x.device)) < CAPABILITY:
        raise ValueError(f"capability {have} with descriptors, want at least {CAPABILITY}")


def described(x: Tensor | None, rows: int, columns: int) -> TensorDescriptor | None:
    """Contiguous ``x`` [B, T, H, X] as tiles of ``rows`` by ``columns`` of [B T, H X]."""
    if x is None:
        return None
    # part of another tensor may start anywhere
    x = x if x.data_ptr() % ALIGNMENT == 0 else x.clone()
    return TensorDescriptor.from_tensor(x.flatten(0, 1).flatten(1), [rows, columns])
