"""Which models are here, what they are, and which fits."""

import json
import shutil
from pathlib import Path

import pytest

from luthier.errors import ModelError
from luthier.recipes.candidates import Candidate, Machine, Unusable, by_fitness, downloadable, look, named, on_this_machine

LAPTOP = Machine(memory_bytes=16e9, flops=1e11)


def model(parameters: float, chat: bool = True) -> Candidate:
    return Candidate(f"{parameters:g}", parameters, 2048, chat)


def test_a_model_folder_is_read_without_loading_it(toy_folder: Path) -> None:
    found = look("toy", toy_folder)
    assert isinstance(found, Candidate)
    assert (found.context, found.chat, found.folder) == (512, True, toy_folder)
    assert 20_000 < found.parameters < 60_000


def test_what_cannot_be_trained_from_says_why(toy_folder: Path, tmp_path: Path) -> None:
    cut = shutil.copytree(toy_folder, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes(b"\x10")
    bare = shutil.copytree(toy_folder, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    quantized = shutil.copytree(toy_folder, tmp_path / "quantized")
    header = json.dumps({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (quantized / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    reasons = [found.why for folder in (cut, bare, quantized) if isinstance(found := look("m", folder), Unusable)]
    assert [any(word in reason for reason in reasons) for word in ("cut short", "no tokenizer.json", "quantized")] == [True] * 3


def test_models_are_found_in_places_and_in_the_cache_once_each(toy_folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub/models--org--small/snapshots/abc"
    shutil.copytree(toy_folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("abc", encoding="utf-8")
    model = shutil.copytree(toy_folder, tmp_path / "models/toy")
    here = on_this_machine([model.parent, model], {"HF_HUB_CACHE": str(tmp_path / "hub")})
    assert [found.path for found in here] == ["starter", "org/small", str(model)]


def test_the_largest_that_fits_comes_first_then_those_that_do_not_from_the_smallest() -> None:
    """16 GB hold 2.6 bytes of each of 5 billion parameters and 1 GB; 1e6 tokens of 0.5 billion take 4 × 0.5e15 / 1e11 = 20,000 s."""
    models = [model(7e9), model(1e8), model(5e8), model(3e9), model(9e8, chat=False)]
    assert [found.parameters for found in by_fitness(models, True, 1e6, LAPTOP)] == [5e8, 1e8, 9e8, 3e9, 7e9]


def test_without_need_of_a_template_only_size_counts() -> None:
    assert [found.parameters for found in by_fitness([model(1e8), model(9e8, chat=False)], False, 1e6, LAPTOP)] == [9e8, 1e8]


def test_full_tuning_needs_more_memory_than_an_adapter() -> None:
    """A billion parameters: 18 + 1 GB against 2.6 + 1."""
    assert model(1e9).memory_bytes(whole=True) == pytest.approx(19e9)
    assert model(1e9).memory_bytes(whole=False) == pytest.approx(3.6e9)


def test_the_list_of_open_models_is_complete_and_by_size() -> None:
    models = downloadable()
    assert [found.parameters for found in models] == sorted(found.parameters for found in models)
    assert all(found.licence and found.context and found.path.count("/") == 1 and found.folder is None for found in models)
    assert {found.chat for found in models} == {True, False}


def test_a_model_is_named_by_folder_or_as_an_open_one(toy_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert named(str(toy_folder)).folder == toy_folder
    assert named("Qwen/Qwen3-0.6B").folder is None
    with pytest.raises(ModelError, match="neither a folder here nor"):
        named("nobody/nothing")
