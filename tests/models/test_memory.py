"""Counting what a computation holds, on shapes alone."""

import torch

from luthier.models.memory import Held, Ledger


def test_the_most_is_counted_with_its_parts_and_what_is_gone_no_more():
    """a: 1,000 floats = 4,000 bytes, b: as many, c = a + b: as many. b is gone before d, 2,000 bytes, is made."""
    with Ledger() as ledger:
        ledger.enter_act("all")
        with ledger.filling("weights"):
            a = torch.empty(1000, device="meta")
        b = torch.empty(1000, device="meta")
        c = a + b
        del b
        d = torch.empty(500, device="meta")
        ledger.finish()
    assert ledger.acts["all"] == Held({"weights": 4000.0, "activations": 8000.0})
    assert c.shape[0] + d.shape[0] == 1500


def test_a_view_holds_nothing_of_its_own():
    with Ledger() as ledger:
        ledger.enter_act("all")
        rows = torch.empty(10, 10, device="meta")
        views = rows.T, rows[2:], rows.view(100)
        ledger.finish()
    assert ledger.acts["all"].total == 400
    assert len(views) == 3


def test_acts_are_told_apart_and_each_begins_with_what_is_there():
    with Ledger() as ledger:
        ledger.enter_act("first")
        large = torch.empty(1000, device="meta")
        kept = torch.empty(100, device="meta")
        del large
        ledger.enter_act("second")
        more = torch.empty(50, device="meta")
        ledger.finish()
    assert ledger.acts["first"].total == 4400
    assert ledger.acts["second"].total == 600
    assert len(kept) + len(more) == 150


def test_what_is_as_wide_as_the_vocabulary_is_logits():
    with Ledger(vocabulary=77) as ledger:
        ledger.enter_act("all")
        logits = torch.empty(3, 8, device="meta") @ torch.empty(8, 77, device="meta")
        ledger.finish()
    assert ledger.acts["all"].parts["logits"] == (3 + 8) * 77 * 4
    assert logits.shape == (3, 77)


def test_a_gradient_is_what_autograd_saves_for_it():
    """exp keeps its output, 4,000 bytes, for the backward pass; the input is there as well."""
    with Ledger() as ledger:
        ledger.enter_act("all")
        x = torch.empty(1000, device="meta", requires_grad=True)
        x.exp().sum().backward()
        ledger.assign(x.grad, "gradients")
        ledger.enter_act("after")
        ledger.finish()
    assert ledger.acts["after"].parts["gradients"] == 4000


def test_a_value_that_shapes_cannot_tell_is_one():
    with Ledger():
        assert float(torch.empty((), device="meta")) == 1.0
        assert torch.empty(2, 3, device="meta").cpu().tolist() == [[1.0] * 3] * 2


def test_a_line_goes_on_beyond_its_two_points():
    """2 layers hold 10 and 3, 3 layers 14 and 3; 6 layers lie at share 4 of the line: 10 + 4 · 4 and 3."""
    assert Held({"a": 10.0, "b": 3.0}).along(Held({"a": 14.0, "b": 3.0}), 4) == Held({"a": 26.0, "b": 3.0})
