"""The routing is a context: it ends where it began, whatever happens inside."""

import threading

import pytest
import torch

from luthier.adapters.routing import BASE, Routing, current, routed


def test_nothing_is_routed_at_first() -> None:
    assert current() is BASE and current().whole is None and current().parts == ()


def test_routings_nest() -> None:
    with routed(Routing("policy")):
        with routed(Routing("critic")):
            assert current().whole == "critic"
        assert current().whole == "policy"
    assert current() is BASE


def test_an_error_inside_ends_it_too() -> None:
    with pytest.raises(ZeroDivisionError), routed(Routing("policy")):
        _ = 1 / 0
    assert current() is BASE


def test_another_thread_has_its_own() -> None:
    seen: list[Routing] = []
    with routed(Routing(None, (("policy", torch.arange(3)),), 3)):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert current().num_positions == 3
    assert seen == [BASE]
