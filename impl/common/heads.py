"""Heads: one projection cut into heads and put together again."""

from jaxtyping import Float
from torch import Tensor


def split(x: Float[Tensor, "B T D"], heads: int) -> Float[Tensor, "B H T K"]:
    """Cut the last axis into ``heads`` equal parts, each a batch of sequences of its own."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge(x: Float[Tensor, "B H T K"]) -> Float[Tensor, "B T D"]:
    """Undo ``split``."""
    return x.transpose(1, 2).flatten(-2)


def head_width(width: int, heads: int) -> int:
    """Channels of one head. ValueError when ``heads`` does not divide ``width``."""
    if width % heads:
        raise ValueError(f"width={width}, want a multiple of heads={heads}")
    return width // heads
