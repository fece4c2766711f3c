"""The three real models of the shared folder: what each learns loads in `peft`."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from luthier.adapters import lora
from luthier.adapters.routing import Routing, routed
from luthier.models.load import load_model
from luthier.recipes.train import train
from luthier.spec.load import load_run

MODELS = ("stories260k", "tinystories-656k", "tinystories-instruct-3m-chat")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_what_a_real_model_learns_of_real_dialogues_loads_in_peft(name: str, shared: Path, tmp_path: Path):
    """Two steps of LoRA on SODA, and then the same logits from `peft` as from this project."""
    model = shared / "models" / name
    given = [
        "train.max_steps=2",
        "train.dtype=float32",
        "evaluation.prompts=[]",
        "optimizer.learning_rate=0.01",
        "optimizer.warmup_share=0",
    ]
    data = {"train": [str(shared / "data/soda_chat_val/chat_val.txt")], "too_long": "drop"}
    with torch.enable_grad():
        run = train(load_run(None, given, model={"path": str(model), "chat_template": "plain"}, data=data, out=str(tmp_path / "run")))
    ids = torch.arange(5, 45)[None]
    ours = load_model(model, torch.float32, torch.device("cpu"))
    base = ours(ids).logits
    lora.load(ours, "default", run.path / "adapter", ours.get_output_embeddings())
    with routed(Routing("default")):
        expected = ours.eval()(ids).logits
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), str(run.path / "adapter"))
    found = theirs.eval()(ids).logits
    assert (found - expected).norm() < 1e-5 * expected.norm()
    assert (base - expected).norm() > 1e-3 * expected.norm(), "the adapter changes something, or this says nothing"
