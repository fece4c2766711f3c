"""Tokens that pre-training never saw can be told apart in what is published, and those that it saw are as they were."""

import torch
from examples.starter.publish import ALIKE, told_apart


def nearest(rows: torch.Tensor) -> torch.Tensor:
    """(V,): the cosine of each row and the row most like it."""
    rows = torch.nn.functional.normalize(rows.float(), dim=1)
    return (rows @ rows.T).fill_diagonal_(-1).amax(1)


def test_rows_that_were_one_are_moved_apart_and_no_other_is():
    """20 rows of their own, and 10 that pre-training pushed to one place."""
    generator = torch.Generator().manual_seed(1)
    own, place = torch.randn(20, 192, generator=generator) / 14, torch.randn(192, generator=generator) / 12
    embedding = torch.cat([own, place.expand(10, 192)])
    moved = told_apart(embedding)
    assert torch.equal(moved[:20], own)
    assert float(nearest(moved).max()) < ALIKE
    assert torch.allclose(moved[20:] @ place, embedding[20:] @ place, atol=1e-5)  # as unlikely as before, where they were
    assert told_apart(moved) is moved
