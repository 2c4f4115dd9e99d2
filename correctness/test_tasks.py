"""Every task asks what it says: labels by a slow oracle, disjoint streams, the floor scored."""

import itertools
import math

import pytest
import torch

from correctness.groups import product
from suites.tasks import Batch, Task, find, settings

TASKS = [task for task in settings().values() if task.metric == "accuracy"]
COUNT = 64


def recall(tokens: list[int], task: Task) -> list[int | None]:
    """The value last seen behind each key that is asked again."""
    keys = range(1, 1 + task.classes)
    known: dict[int, int] = {}
    answers: list[int | None] = [None] * len(tokens)
    for t, token in enumerate(tokens):
        if token in known:
            answers[t] = known[token]
        elif token in keys:
            known[token] = tokens[t + 1] - 1 - task.classes
    return answers


def copied(tokens: list[int], task: Task) -> list[int | None]:
    """The symbols in the order they were met, one for each marker."""
    met = [token for token in tokens if token < task.classes]
    return [met.pop(0) if token == task.classes + 1 else None for token in tokens]


def copied_by_level(tokens: list[int], task: Task) -> list[int | None]:
    """The symbols of each level in the order they were met, one for each marker of the level."""
    levels = (task.vocabulary - 1) // (task.classes + 1)
    met: list[list[int]] = [[] for _ in range(levels)]
    answers: list[int | None] = [None] * len(tokens)
    for t, token in enumerate(tokens):
        level, symbol = divmod(token, task.classes)
        if level < levels:
            met[level].append(symbol)
        elif token < task.vocabulary - 1:
            answers[t] = met[token - levels * task.classes].pop(0)
    return answers


def continued(tokens: list[int], task: Task) -> list[int | None]:
    """The wave of the one period that what was shown allows."""
    letters = (task.vocabulary - 1) // task.classes
    shown = [token // letters for token in tokens if token < task.vocabulary - 1]
    (wave,) = {
        tuple(wave)
        for period in (4, 6, 8)
        for phase in range(period)
        if (wave := [int((t + phase) % period < period // 2) for t in range(len(tokens))])
        and wave[: len(shown)] == shown
    }
    return [None] * len(shown) + list(wave[len(shown) :])


DRAWN = 60_000
"""Sequences of a training run that are looked at: all of a run on a CPU, the first of one on a GPU."""
REPEATED = {"delayed_copy-T33": 0.01}
"""Share of sequences that may be met again where there are few: 64^4 for this one, 14400 of them drawn."""
ORACLES = {
    "mqar": recall,
    "recall": recall,
    "selective_copying": copied,
    "delayed_copy": copied,
    "hierarchical_copying": copied_by_level,
    "word_problem": product,
    "periodic_signal": continued,
}


def drawn(task: Task, split: str, seed: int, count: int = COUNT, length: int = 0) -> Batch:
    return task.draw(task.stream(split, seed), count, length or task.length)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_labels_are_the_oracles(task: Task) -> None:
    oracle = ORACLES[task.name.partition("-")[0]]
    for length in (task.length, task.test_length):
        batch = drawn(task, "test", 0, length=length)
        assert batch.tokens.shape == batch.labels.shape == (COUNT, length)
        for tokens, labels, learned in zip(
            batch.tokens.tolist(), batch.labels.tolist(), batch.learned.tolist(), strict=True
        ):
            wanted = oracle(tokens, task)
            assert [answer is not None for answer in wanted] == learned
            assert [answer or 0 for answer in wanted] == labels


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_sizes_are_as_declared(task: Task) -> None:
    batch = drawn(task, "train", 0, count=512)
    assert int(batch.tokens.min()) >= 0
    assert int(batch.tokens.max()) == task.vocabulary - 1
    # a long way from the start for some groups: not every class is met at the trained length
    longer = drawn(task, "train", 0, count=512, length=task.test_length)
    asked = longer.labels[longer.learned]
    assert int(asked.min()) == 0
    assert int(asked.max()) == task.classes - 1
    assert not (batch.scored & ~batch.learned).any()
    assert batch.scored.any(1).all()
    assert task.test_length > task.length
    assert all(0 < length < task.length for length in task.curriculum)
    assert not task.lengths or {task.length, task.test_length} <= set(task.lengths)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_seed_repeats_and_streams_are_disjoint(task: Task) -> None:
    assert torch.equal(drawn(task, "train", 0).tokens, drawn(task, "train", 0).tokens)
    seen: set[tuple[int, ...]] = set()
    streams = list(itertools.product(("train", "check", "test"), (0, 1, 100)))
    for split, seed in streams:
        seen |= {tuple(row) for row in drawn(task, split, seed).tokens.tolist()}
    assert len(seen) == COUNT * len(streams)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_what_is_scored_was_not_trained_on(task: Task) -> None:
    assert task.test_length > max((task.length, *task.curriculum))
    # at the trained length a few may meet again by chance, of all that a run draws on a CPU
    count = min(task.tokens // task.length, DRAWN)
    trained = drawn(task, "train", 0, count=count).tokens
    scored = drawn(task, "test", 0, count=512).tokens
    # two sequences that agree in two random sums of 64 bits are one
    sums = torch.randint(
        -(2**62), 2**62, (2, task.length), generator=torch.Generator().manual_seed(0)
    )
    seen = {tuple(row) for row in (trained @ sums.T).tolist()}
    asked = {tuple(row) for row in (scored @ sums.T).tolist()}
    assert len(asked) == 512
    assert len(seen & asked) <= REPEATED.get(task.name, 0) * 512


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_floor_is_the_best_strategys(task: Task) -> None:
    count = 4096
    batch = drawn(task, "test", 0, count=count, length=task.test_length)
    reached = {}
    for name, answer in task.strategies.items():
        right = (answer(batch, task.stream("model", 0)) == batch.labels) & batch.scored
        # one figure a sequence: answers within a sequence are not independent
        share = right.sum(1) / batch.scored.sum(1)
        error = share.std().item() / math.sqrt(count)
        assert share.mean().item() <= task.floor + 3 * error, name
        reached[name] = share.mean().item() >= task.floor - 3 * error
    assert any(reached.values())


def test_questions_crowd_behind_the_pairs() -> None:
    task = find("mqar-T32")
    batch = drawn(task, "test", 0, count=4096, length=task.test_length)
    first, rest = batch.scored[:, 8].float().mean(), batch.scored[:, -2].float().mean()
    assert first > 5 * rest > 0


def test_an_answer_of_the_delayed_copy_crosses_a_border_of_chunks() -> None:
    task = find("delayed_copy-T33")
    for length, border in ((task.length, 32), (task.test_length, 64)):
        asked = drawn(task, "test", 0, count=1, length=length).scored[0].nonzero()[:, 0]
        assert asked.min() < border <= asked.max()


def test_unknown_task_names_the_near_ones() -> None:
    with pytest.raises(ValueError, match="mqar-T32"):
        find("mqar-T23")


@pytest.mark.parametrize(
    ("task", "length", "wish"),
    [
        ("mqar-T32", 14, "want at least 16"),
        ("selective_copying-T24", 6, "want at least 8"),
        ("hierarchical_copying-T16", 7, "want at least 8"),
        ("recall-pairs8-T18", 16, "want at least 17"),
        ("delayed_copy-T33", 7, "want at least 8"),
        ("periodic_signal-T80", 16, "want more than the 16"),
    ],
)
def test_too_short_a_sequence_is_refused(task: str, length: int, wish: str) -> None:
    with pytest.raises(ValueError, match=wish):
        drawn(find(task), "test", 0, length=length)
