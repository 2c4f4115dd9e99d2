"""Routing: a token picks a one-hot column-sparse matrix out of a learnt dictionary, with a gradient.

    S = sum over m of softmax(logits)[m] dictionary[m],   P[:, j] = onehot(argmax over i of S[i, j])

Column j of P says where coordinate j goes: several may meet in one row, and products of such matrices
are such matrices. The choice has no gradient; the softmax of S down every column lends it its own
(straight-through), so the backward pass is that of a smooth matrix that P is the hard form of.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def column_routing(
    logits: Float[Tensor, "*batch M"], dictionary: Float[Tensor, "M N N"]
) -> Float[Tensor, "*batch N N"]:
    """``P`` with exactly one 1 in every column, backward that of the softmax of the scores.

    Of equal scores the first row is taken, so that every form of one mixer takes the same.
    """
    mixed = torch.softmax(logits, dim=-1) @ dictionary.flatten(1)
    scores = mixed.unflatten(-1, dictionary.shape[1:])
    soft = torch.softmax(scores, dim=-2)
    rows = torch.arange(scores.shape[-2], device=scores.device)
    hard = (scores.argmax(dim=-2, keepdim=True) == rows[:, None]).to(scores.dtype)
    # the bracket is exactly zero, so that the values stay exactly 0 and 1
    return hard + (soft - soft.detach())
