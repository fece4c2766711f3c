"""Counting what a computation holds, on shapes alone."""

import torch

from luthier.models.memory import KEPT, Held, Ledger


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


def test_what_was_freed_stays_in_the_heap_until_it_is_trimmed():
    """400 bytes stay of 4,400; 200 more fit into what was freed. Trimmed, 600 are left."""
    with Ledger() as ledger:
        ledger.enter_act("first")
        large = torch.empty(1000, device="meta")
        kept = torch.empty(100, device="meta")
        del large
        ledger.enter_act("second")
        more = torch.empty(50, device="meta")
        ledger.trim()
        ledger.enter_act("third")
        ledger.finish()
    assert ledger.acts["first"] == Held({"activations": 4400.0})
    assert ledger.acts["second"] == Held({"activations": 400.0, KEPT: 4000.0})
    assert ledger.acts["third"] == Held({"activations": 600.0})
    assert len(kept) + len(more) == 150


def test_what_never_lay_in_the_heap_is_gone_when_it_is_freed():
    """A file of 4,000 bytes that is mapped."""
    file = torch.empty(1000, device="meta")
    ledger = Ledger()
    ledger.add(file, beside=True)
    with ledger:
        ledger.enter_act("before")
        del file
        ledger.enter_act("after")
        more = torch.empty(10, device="meta")
        ledger.finish()
    assert (ledger.acts["before"].total, ledger.acts["after"].total) == (4000, 40)
    assert len(more) == 10


def test_attention_holds_no_matrix_of_scores():
    """Of 8 heads of 64 numbers over 1,000 positions it keeps its output, 2,048,000 bytes, and 8,000 normalizers of 4 bytes."""
    shape = (1, 8, 1000, 64)
    query, key, value = (torch.empty(shape, device="meta", requires_grad=True) for _ in range(3))
    with Ledger() as ledger:
        ledger.enter_act("all")
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        ledger.finish()
        most = ledger.acts["all"].total
        out.sum().backward()
    assert most == 8 * 1000 * 64 * 4 + 8 * 1000 * 4
    assert query.grad is not None and query.grad.shape == query.shape


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


def test_a_line_goes_on_in_each_direction():
    """A short version holds 10 and 3; one more of a kind 14 and 3, of which there are 4; one more of another 11 and 5, of which there
    are 2: 10 + 4 · 4 + 2 · 1, and 3 + 4 · 0 + 2 · 2."""
    few, one, other = Held({"a": 10.0, "b": 3.0}), Held({"a": 14.0, "b": 3.0}), Held({"a": 11.0, "b": 5.0})
    assert few.grown([(one, 4), (other, 2)]) == Held({"a": 28.0, "b": 7.0})


def test_tensors_that_the_allocator_gives_back_whole_are_told_apart():
    """32 MiB and more: 8,388,608 floats are, 1,000 are not."""
    with Ledger() as ledger:
        ledger.enter_act("all")
        tensors = torch.empty(8_388_608, device="meta"), torch.empty(1000, device="meta")
        ledger.finish()
    assert ledger.acts["all"] == Held({"activations": 2**25 + 4000.0}, {"activations": 2.0**25})
    assert len(tensors) == 2
