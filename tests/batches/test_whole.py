"""Rows of which the prompts are learned, too."""

import numpy as np

from luthier.batches.example import Example, column
from luthier.batches.whole import WholeRows
from luthier.text.sequence import Sequence


def _example(*weights: float) -> Example:
    return Example((Sequence(np.arange(len(weights)), np.array(weights, dtype=np.float32)),), dataset=3, origin="a:1", num_bytes=7)


EXAMPLES = (_example(0, 0, 0, 1, 2), _example(0, 0, 1))


def test_what_had_no_weight_has_it_now_but_for_the_first_token():
    first, second = WholeRows(EXAMPLES, 0.25)
    assert first.sequences[0].weights.tolist() == [0, 0.25, 0.25, 1, 2]
    assert second.sequences[0].weights.tolist() == [0, 0.25, 1]
    assert (first.dataset, first.origin, first.num_bytes) == (3, "a:1", 0)
    assert EXAMPLES[0].sequences[0].weights.tolist() == [0, 0, 0, 1, 2], "the given ones stay as they are"


def test_its_columns_are_those_of_its_examples():
    whole = WholeRows(EXAMPLES, 0.25)
    assert column(whole, "num_trained").tolist() == [4, 2]
    assert column(whole, "num_tokens").tolist() == [5, 3]
    assert column(whole, "num_bytes").tolist() == [0, 0]
    assert [len(whole), len(whole[1:])] == [2, 1]
