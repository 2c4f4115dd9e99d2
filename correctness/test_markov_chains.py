"""The exact predictor of a chain is the posterior's mean, and nothing that only counts states nears it."""

import math

import pytest
import torch

from suites.tasks import find
from suites.tasks.markov_chains import SPREAD

TASK = find("markov_chains-T64")


def test_the_exact_predictor_is_the_walked_count() -> None:
    batch = TASK.draw(TASK.stream("test", 0), 8, 48)
    assert batch.known is not None
    for tokens, labels, known in zip(
        batch.tokens.tolist(), batch.labels.tolist(), batch.known.tolist(), strict=True
    ):
        seen: dict[int, list[int]] = {}
        for token, label, loss in zip(tokens, labels, known, strict=True):
            after = seen.setdefault(token, [])
            share = (after.count(label) + SPREAD) / (len(after) + TASK.classes * SPREAD)
            assert loss == pytest.approx(-math.log(share), rel=1e-5)
            after.append(label)


def test_no_other_weight_of_the_counts_predicts_better() -> None:
    """The posterior's mean is optimal on average over chains: a heavier or lighter prior is worse."""
    batch = TASK.draw(TASK.stream("test", 1), 2048, 64)
    assert batch.known is not None
    losses = {}
    for prior in (SPREAD / 3, SPREAD, 3 * SPREAD):
        onehot = torch.nn.functional.one_hot(batch.tokens * 16 + batch.labels, 256)
        before = (onehot.cumsum(1) - onehot).unflatten(-1, (16, 16))
        rows = before[torch.arange(2048)[:, None], torch.arange(64), batch.tokens]
        share = (rows.gather(2, batch.labels[..., None])[..., 0] + prior) / (
            rows.sum(-1) + 16 * prior
        )
        losses[prior] = -share.log().mean().item()
    assert min(losses, key=lambda prior: losses[prior]) == SPREAD
    assert losses[SPREAD] == pytest.approx(batch.known.mean().item(), rel=1e-5)


def test_a_walk_follows_its_labels_and_a_row_has_few_successors() -> None:
    batch = TASK.draw(TASK.stream("train", 0), 64, TASK.length)
    assert torch.equal(batch.tokens[:, 1:], batch.labels[:, :-1])
    assert int(batch.tokens.max()) == TASK.vocabulary - 1
    uniform = TASK.strategies["uniform"](batch, TASK.stream("model", 0))
    assert batch.known is not None
    assert batch.known[batch.scored].mean() < 0.7 * uniform.mean()


def test_floor_is_the_best_strategys() -> None:
    batch = TASK.draw(TASK.stream("test", 0), 4096, TASK.test_length)
    assert batch.known is not None
    reached = []
    for name, way in TASK.strategies.items():
        beyond = (way(batch, TASK.stream("model", 0)) - batch.known) * batch.scored
        each = beyond.sum(1) / batch.scored.sum(1)
        error = each.std().item() / math.sqrt(len(each))
        assert each.mean().item() >= TASK.floor - 3 * error, name
        reached.append(each.mean().item() <= TASK.floor + 3 * error)
    assert any(reached)


def test_less_is_better() -> None:
    assert TASK.normalised(TASK.floor) == 0
    assert TASK.normalised(0.0) == 1
    assert TASK.normalised(TASK.floor / 10) == pytest.approx(0.9)
    assert TASK.normalised(2 * TASK.floor) < 0
