"""Heads: one projection cut into heads and put together again, and heads that others share."""

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


def repeat_heads(x: Float[Tensor, "*B G K"], heads: int) -> Float[Tensor, "*B H K"]:
    """Each of G heads for H / G neighbours of ``heads`` = H; ``x`` itself where they are equal."""
    return x if x.shape[-2] == heads else x.repeat_interleave(heads // x.shape[-2], dim=-2)


def sum_heads(x: Float[Tensor, "*B H K"], like: Float[Tensor, "*B G K"]) -> Float[Tensor, "*B G K"]:
    """The gradient of ``like`` from that of its repeated heads; ``x`` itself where H is G."""
    if x.shape == like.shape:
        return x
    return x.unflatten(-2, (like.shape[-2], -1)).sum(-2).to(like.dtype)
