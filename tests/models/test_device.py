"""What is set up on a device before anything is computed on it."""

import os

import pytest

from luthier.models.device import bound_compiled_products

CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


def test_compiled_products_are_few_unless_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(CACHES[0], raising=False)
    monkeypatch.setenv(CACHES[1], "1024")
    bound_compiled_products()
    assert [os.environ[name] for name in CACHES] == ["128", "1024"]
