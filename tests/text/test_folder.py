"""Model folders found without torch and without the network."""

import json
from pathlib import Path

import pytest

from luthier.errors import ModelError
from luthier.spec.run import ModelSpec
from luthier.text.folder import STARTER, cache, cached_models, context_length, local_folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A cache with one model, as Hugging Face's libraries lay it out."""
    entry = tmp_path / "hub" / "models--org--small--model"
    for name, text in {"refs/main": "abc123", "snapshots/abc123/config.json": json.dumps({"n_positions": 64})}.items():
        (entry / name).parent.mkdir(parents=True, exist_ok=True)
        (entry / name).write_text(text, encoding="utf-8")
    return {"HF_HUB_CACHE": str(tmp_path / "hub")}


def test_the_bundled_model_and_folders_are_found(toy_folder: Path) -> None:
    assert local_folder(ModelSpec(path="starter")) == STARTER
    assert local_folder(ModelSpec(path=str(toy_folder))) == toy_folder
    assert (context_length(STARTER), context_length(toy_folder)) == (1024, 512)


def test_a_model_in_the_cache_is_found_by_its_id(environment: dict[str, str]) -> None:
    ((name, folder),) = cached_models(environment)
    assert name == "org/small--model"
    assert local_folder(ModelSpec(path=name), environment) == folder
    assert local_folder(ModelSpec(path=name, revision="abc123"), environment) == folder
    assert context_length(folder) == 64


def test_a_model_that_is_not_here_is_a_sentence(environment: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="neither a folder here nor in the Hugging Face cache"):
        local_folder(ModelSpec(path="org/another"), environment)


def test_the_cache_is_where_the_environment_says() -> None:
    assert cache({"HF_HOME": "/a"}) == Path("/a/hub")
    assert cache({"XDG_CACHE_HOME": "/b"}) == Path("/b/huggingface/hub")
    assert cache({}) == Path.home() / ".cache/huggingface/hub"


def test_the_text_part_of_a_model_for_images_says_the_context(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": 32}}), encoding="utf-8")
    assert context_length(tmp_path) == 32
