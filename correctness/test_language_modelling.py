"""The text is the pinned one or none, no module is both trained and scored, and the floor is counted."""

import hashlib
import itertools
import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from suites.tasks import find
from suites.tasks.language_modelling import (
    BYTES,
    CHOOSING,
    DIGESTS,
    ORDER,
    SCORED,
    TRAINED,
    counted,
    likelihood,
    source,
    text,
)

TASK = find("language_modelling-T64")


def test_every_module_is_of_one_split() -> None:
    assert len({*TRAINED, *CHOOSING, *SCORED}) == len([*TRAINED, *CHOOSING, *SCORED])
    assert {*TRAINED, *CHOOSING, *SCORED} == set(DIGESTS)
    # no two are the same text
    assert len(set(DIGESTS.values())) == len(DIGESTS)


def test_splits_draw_windows_of_their_own_modules() -> None:
    for split, modules in (("train", TRAINED), ("check", CHOOSING), ("test", SCORED)):
        batch = TASK.draw_of(split)(TASK.stream(split, 0), 16, TASK.test_length)
        for tokens, labels in zip(batch.tokens.tolist(), batch.labels.tolist(), strict=True):
            assert bytes(tokens) in text(modules)
            assert bytes([*tokens, labels[-1]]) in text(modules)
            assert tokens[1:] == labels[:-1]
    assert max(text((*TRAINED, *CHOOSING, *SCORED))) < BYTES == TASK.vocabulary == TASK.classes


def test_another_text_is_refused_with_both_hashes(tmp_path: Path) -> None:
    (tmp_path / "graphlib.py").write_text("another = True\n")
    found = hashlib.sha256(b"another = True\n").hexdigest()
    with pytest.raises(
        ValueError, match=f"graphlib has sha256 {found}, want {DIGESTS['graphlib']}"
    ):
        source("graphlib", tmp_path)
    with pytest.raises(ValueError, match="module weakref"):
        source("weakref", tmp_path)


def test_the_counting_predictor_is_the_counted_one_and_a_distribution() -> None:
    whole = text(TRAINED)
    after = Counter(b for a, b in itertools.pairwise(whole) if a == ord("q"))
    alone = Counter(whole)
    total, kinds = sum(after.values()), len(after)
    single = (alone[ord("u")] + len(alone) / BYTES) / (len(whole) + len(alone))
    wanted = (after[ord("u")] + kinds * single) / (total + kinds)
    assert likelihood(b"qu") == pytest.approx(wanted)
    for before in (b"", b"q", b"de"):
        assert sum(likelihood(before + bytes([b])) for b in range(BYTES)) == pytest.approx(1)


def test_floor_and_best_are_counted() -> None:
    batch = TASK.draw_of("test")(TASK.stream("test", 0), 4096, TASK.test_length)
    generator = TASK.stream("model", 0)

    def told(losses: torch.Tensor) -> tuple[float, float]:
        """Loss, and its error: windows overlap, so it is taken over the modules' length instead."""
        independent = len(text(SCORED)) / TASK.test_length
        return losses.mean().item(), losses.mean(1).std().item() / math.sqrt(
            min(independent, len(losses))
        )

    reached = {name: told(way(batch, generator)) for name, way in TASK.strategies.items()}
    loss, error = min(reached.values())
    assert abs(loss - math.log(TASK.floor)) < error
    assert min(reached, key=lambda name: reached[name]) == "pairs"
    loss, error = told(counted(batch, generator, order=ORDER))
    assert abs(loss - math.log(TASK.best)) < error
    assert TASK.normalised(TASK.floor) == 0
    assert TASK.normalised(TASK.best) == 1
