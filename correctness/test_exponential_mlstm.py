"""The exponential mLSTM against the form of its papers, which carries a running maximum."""

import torch

from correctness.op import find


def test_the_running_maximum_of_the_papers_cancels() -> None:
    op = find("exponential_mlstm")
    given = op.inputs({"B": 2, "T": 40, "H": 2, "K": 5, "V": 3}, extreme=True)
    given["h0"] = torch.zeros_like(given["h0"])
    o, state = op(**given)
    q, k, v, i, f = (given[name] for name in "qkvif")

    # memory and normaliser over exp(m), so that the 1 of the readout is exp(-m)
    memory, normaliser = torch.zeros(2, 2, 5, 3).double(), torch.zeros(2, 2, 5).double()
    largest = torch.full((2, 2), -torch.inf).double()
    for t in range(40):
        kept = torch.nn.functional.logsigmoid(f[:, t]) + largest
        largest = torch.maximum(kept, i[:, t])
        kept, written = (kept - largest).exp(), (i[:, t] - largest).exp()
        memory = kept[..., None, None] * memory
        memory = memory + written[..., None, None] * k[:, t, :, :, None] * v[:, t, :, None]
        normaliser = kept[..., None] * normaliser + written[..., None] * k[:, t]
        recalled = (q[:, t, :, None] @ memory)[..., 0, :]
        weight = (q[:, t] * normaliser).sum(-1).abs()
        told = recalled / torch.maximum(weight, (-largest).exp())[..., None]
        torch.testing.assert_close(o[:, t], told, rtol=1e-9, atol=1e-12)
    scale = largest.exp()[..., None]
    torch.testing.assert_close(state[..., :-1], memory * scale[..., None])
    torch.testing.assert_close(state[..., -1], normaliser * scale)
