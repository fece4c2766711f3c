"""A merged model stands alone, answers as base and adapter do, and is not kept where it does not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import luthier
from luthier.adapters.routing import Routing, routed
from luthier.engine.folder import RunFolder, read_json, write_json
from luthier.errors import ModelError, RunError, SettingsError
from luthier.recipes.assistant import open_assistant
from luthier.recipes.merge import merge
from luthier.spec.rows import Message
from luthier.testing import toy_model

QUESTION = [Message("user", "Count from 3.")]


@torch.no_grad()
def logits(model: torch.nn.Module, ids: np.ndarray, adapter: str | None = None) -> torch.Tensor:
    with routed(Routing(adapter)):
        return model(input_ids=torch.from_numpy(ids)[None]).logits[0].float()


def test_transformers_loads_it_and_computes_the_same(toy_run: Path, tmp_path: Path):
    merged = merge(toy_run, tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(merged.path)
    assistant = open_assistant(str(toy_run))
    ids = assistant.prompt_ids(QUESTION)
    expected = logits(assistant.root.model, ids, "default")
    assert float((logits(model, ids) - expected).norm() / expected.norm()) < 1e-5
    assert model.dtype == torch.float32
    assert (merged.num_layers, merged.dtype, merged.num_rows) == (14, "float32", 4)
    assert merged.difference < 1e-5 < merged.effect


def test_tokenizer_and_template_come_along(toy_run: Path, tmp_path: Path):
    path = merge(toy_run, tmp_path / "merged").path
    mine, theirs = open_assistant(str(toy_run)), open_assistant(str(path))
    assert theirs.renderer.fingerprint == mine.renderer.fingerprint
    tokenizer = AutoTokenizer.from_pretrained(path)
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION[0].content}], add_generation_prompt=True, tokenize=False)
    assert tokenizer(rendered, add_special_tokens=False).input_ids == mine.prompt_ids(QUESTION).tolist()


def test_the_type_of_the_weights_can_be_chosen(toy_run: Path, tmp_path: Path):
    merged = merge(toy_run, tmp_path / "merged", "bfloat16")
    weights = load_file(merged.path / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert merged.tolerance == 4 * torch.finfo(torch.bfloat16).eps == 2**-5
    assert read_json(merged.path / "config.json")["dtype"] == "bfloat16"


def test_tied_embeddings_stay_tied(toy_rows: Path, tmp_path: Path):
    base = toy_model(tmp_path / "tied", tie_word_embeddings=True)
    run = luthier.train(
        model=base, data=toy_rows, out=tmp_path / "run", quiet=True, optimizer={"learning_rate": 0.02}, evaluation={"prompts": []}
    )
    path = run.merge(tmp_path / "merged").path
    assert "lm_head.weight" not in load_file(path / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(path)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, load_file(base / "model.safetensors")["model.embed_tokens.weight"])


def test_an_empty_folder_is_filled_and_a_full_one_left_alone(toy_run: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    assert (merge(toy_run, tmp_path / "empty").path / "model.safetensors").is_file()
    with pytest.raises(RunError, match="is there already, and nothing is written over"):
        merge(toy_run, tmp_path / "empty")


def test_a_small_adapter_lost_in_rounding_is_refused(toy_run: Path, tmp_path: Path):
    """An adapter 2^-12 as strong changes weights by less than bfloat16 can hold; float32 holds it. What is refused is not left there."""
    run = Path(shutil.copytree(toy_run, tmp_path / "run"))
    file = run / "adapter/adapter_model.safetensors"
    save_file({k: v * (2**-12 if "lora_B" in k else 1) for k, v in load_file(file).items()}, file)
    with pytest.raises(ModelError, match="`--dtype float32` keeps the adapter's effect whole"):
        merge(run, tmp_path / "coarse", "bfloat16")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert merge(run, tmp_path / "fine").effect < 0.01


def test_rows_are_found_without_the_data(toy_run: Path, tmp_path: Path):
    """The data is gone: the fixed prompts are compared instead."""
    run = Path(shutil.copytree(toy_run, tmp_path / "run"))
    text = (run / "run.yaml").read_text(encoding="utf-8")
    (run / "run.yaml").write_text(text.replace("counting.jsonl", "gone.jsonl"), encoding="utf-8")
    assert merge(run, tmp_path / "merged").num_rows == 3


def test_nothing_to_merge_is_said(toy_full_run: Path, tmp_path: Path):
    with pytest.raises(RunError, match=r"tuned the model's own weights .* The model lies in .*full/model"):
        merge(toy_full_run, tmp_path / "merged")


def test_only_finished_runs_are_merged(toy_run: Path, tmp_path: Path):
    run = Path(shutil.copytree(toy_run, tmp_path / "run"))
    record = read_json(RunFolder(run).record_file)
    write_json(RunFolder(run).record_file, {**record, "status": "paused"})
    with pytest.raises(RunError, match="is paused; only a finished run is merged"):
        merge(run, tmp_path / "merged")
    with pytest.raises(RunError, match="holds no run"):
        merge(tmp_path, tmp_path / "merged")


def test_an_unknown_type_and_a_missing_place_are_sentences(toy_run: Path, tmp_path: Path):
    with pytest.raises(SettingsError, match="`dtype` is int8; it must be one of float64, float32, bfloat16, float16"):
        merge(toy_run, tmp_path / "merged", "int8")
    with pytest.raises(RunError, match="There is no folder"):
        merge(toy_run, tmp_path / "no" / "merged")
