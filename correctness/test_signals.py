"""What was told of a signal settles the rest of it, and nothing that needs no memory does."""

import numpy as np
import pytest
import torch

from suites.tasks import find
from suites.tasks.damped_modes import DECAYS, FREQUENCIES, HEARD

TASK = find("damped_modes-T96")


def wave(length: int) -> np.ndarray:
    """Every mode's two solutions, sample by sample."""
    return np.array(
        [
            [np.exp(-d * t) * turn(w * t) for turn in (np.cos, np.sin) for w, d in pairs()]
            for t in range(length)
        ]
    )


def pairs() -> list[tuple[float, float]]:
    return list(zip(FREQUENCIES, DECAYS, strict=True))


def nmse(answer: torch.Tensor, labels: torch.Tensor, scored: torch.Tensor) -> float:
    squares = ((answer - labels) ** 2)[scored].sum() / (labels**2)[scored].sum()
    return squares.item()


@pytest.mark.parametrize("length", [TASK.length, TASK.test_length])
def test_the_told_samples_settle_the_rest(length: int) -> None:
    batch = TASK.draw(TASK.stream("test", 0), 64, length)
    told = batch.tokens[:, :HEARD, 0].double().numpy()
    basis = wave(length)
    amplitudes, *_ = np.linalg.lstsq(basis[:HEARD], told.T, rcond=None)
    answer = torch.from_numpy((basis @ amplitudes).T)
    assert nmse(answer, batch.labels.double(), batch.scored) < 1e-8
    # of one mode too few there is no such answer
    fewer = np.delete(basis, [0, len(FREQUENCIES)], axis=1)
    amplitudes, *_ = np.linalg.lstsq(fewer[:HEARD], told.T, rcond=None)
    assert nmse(torch.from_numpy((fewer @ amplitudes).T), batch.labels, batch.scored) > 0.1


def test_nothing_is_told_once_the_flag_is_up() -> None:
    batch = TASK.draw(TASK.stream("train", 0), 32, TASK.length)
    assert batch.tokens.shape == (32, TASK.length, TASK.vocabulary)
    sample, flag = batch.tokens.unbind(-1)
    assert torch.equal(flag.bool(), batch.scored)
    assert torch.equal(batch.learned, batch.scored)
    assert not sample[batch.scored].any()
    assert not batch.labels[~batch.scored].any()
    assert sample[:, :HEARD].all()


def test_floor_is_the_best_strategys() -> None:
    batch = TASK.draw(TASK.stream("test", 0), 4096, TASK.test_length)
    found = {
        name: nmse(way(batch, TASK.stream("model", 0)), batch.labels, batch.scored)
        for name, way in TASK.strategies.items()
    }
    assert min(found.values()) == TASK.floor == found["zero"]
    assert TASK.normalised(TASK.floor) == 0
    assert TASK.normalised(0.0) == 1


def test_no_wave_is_met_twice() -> None:
    waves = [
        TASK.draw(TASK.stream(split, seed), 64, TASK.length).tokens[:, :HEARD, 0]
        for split in ("train", "check", "test")
        for seed in (0, 1, 100)
    ]
    assert len(torch.cat(waves).unique(dim=0)) == 9 * 64


def test_too_short_a_signal_is_refused() -> None:
    with pytest.raises(ValueError, match=f"want more than the {HEARD} samples"):
        TASK.draw(TASK.stream("test", 0), 1, HEARD)
