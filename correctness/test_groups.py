"""The groups of the word problems are groups, and the ones they are called after."""

import functools
from typing import Any, cast

import pytest
import torch

from correctness.groups import GROUPS, images
from impl.transitions.dense import scan
from suites.tasks import Task, settings
from suites.tasks.word_problem import (
    GENERATORS,
    Permutation,
    alphabet,
    elements,
    products,
    signs,
)

WORDS = [task for task in settings().values() if task.name.startswith("word_problem")]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_table_of_generators_is_that_of_an_independent_construction(name: str) -> None:
    group, meaning = GROUPS[name], images(name)
    table = products(name, whole=False)
    assert len(set(meaning.values())) == len(meaning) == len(table) == group.order
    assert len(group.generators) == len(table[0]) == len(alphabet(name, whole=False))
    for p, row in enumerate(table):
        assert [meaning[q] for q in row] == [
            group.multiply(meaning[p], g) for g in group.generators
        ]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_table_of_elements_agrees_with_that_of_generators(name: str) -> None:
    # a table that is a group's is fixed by its columns of generators: p (q g) = (p q) g
    whole, generators = products(name, whole=True), products(name, whole=False)
    columns = [elements(name).index(g) for g in GENERATORS[name]]
    assert len(whole[0]) == len(alphabet(name, whole=True)) == GROUPS[name].order
    for p, row in enumerate(whole):
        assert tuple(row[column] for column in columns) == generators[p]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_table_is_a_groups(name: str) -> None:
    table = torch.tensor(products(name, whole=True))
    every = torch.arange(len(table))
    assert torch.equal(table[0], every)
    assert torch.equal(table[:, 0], every)
    # each row and column holds everything once, so that every element has an inverse
    assert torch.equal(table.sort(0).values, every[:, None].expand_as(table))
    assert torch.equal(table.sort(1).values, every.expand_as(table))
    for p in range(len(table)):
        assert torch.equal(table[table[p]], table[p][table]), "(p q) r is not p (q r)"


@pytest.mark.parametrize("name", GENERATORS)
def test_signs_tell_what_homomorphisms_to_signs_tell(name: str) -> None:
    told = [GROUPS[name].signs(images(name)[p]) for p in range(GROUPS[name].order)]
    pairs = set(zip(told, signs(name), strict=True))
    assert len(pairs) == len(set(told)) == len(set(signs(name))) > 1


def test_an_eighth_turn_is_a_number_modulo_eight() -> None:
    assert images("Z8") == {p: p for p in range(8)}


@pytest.mark.parametrize("task", WORDS, ids=lambda task: task.name)
def test_a_walk_with_the_groups_own_matrices_is_right_at_every_length(task: Task) -> None:
    group, whole = keywords(task)["group"], keywords(task)["whole"]
    letters = [*alphabet(group, whole=whole), elements(group)[0]]
    turns = torch.stack([matrix(p) for p in letters])
    for length in (task.test_length, *task.lengths):
        batch = task.draw(task.stream("test", 0), 16, length)
        a = turns[batch.tokens]
        h = scan(a, torch.zeros_like(a), torch.eye(a.shape[-1]).expand_as(a[:, 0]))
        number = {p: i for i, p in enumerate(elements(group))}
        places = h[:, -1].argmax(-2).tolist()
        assert [number[tuple(p)] for p in places] == batch.labels[:, -1].tolist()


@pytest.mark.parametrize("task", WORDS, ids=lambda task: task.name)
def test_a_walk_fits_into_the_state(task: Task) -> None:
    things = len(elements(keywords(task)["group"])[0])
    keys, values = task.state or (16, 8)
    assert things <= min(keys, values)


def matrix(p: Permutation) -> torch.Tensor:
    """The matrix that moves what is in row ``i`` to row ``p[i]``."""
    return torch.eye(len(p))[:, list(p)]


def keywords(task: Task) -> dict[str, Any]:
    return cast(functools.partial[Any], task.draw).keywords
