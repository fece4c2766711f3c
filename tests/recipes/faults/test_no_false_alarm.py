"""What is as it should be gets neither error nor warning: the demo, the examples, real data sets, and 200 generated set-ups."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import yaml
from tokenizers import AddedToken

from luthier.recipes.case_study.inputs import write_inputs
from luthier.recipes.demo import Plan, supervised
from luthier.recipes.preflight import preflight
from luthier.spec.finding import Finding
from luthier.spec.load import load_run
from luthier.testing import build_model, byte_tokenizer, save_byte_tokenizer, write_jsonl

NUMBER = 200

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"head_dim": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 4096},
    "mistral": {"sliding_window": 32},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "mamba2": {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "expand": 2},
}
TEMPLATES = ("own", "plain", "chatml", "llama3", "qwen2_5", "gemma3", "phi3_5", "lfm2", "qwen3")
"""`own`: the toy's. Those with a file are real ones, of the shared folder."""

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

TEXT = """
the a my your loan rate month bank account payment card letter garden river morning question answer baker door number
costs opens closes falls rises asks says writes sends needs early late never always gladly twice once here there
"""
WORDS = TEXT.split()


def alarms(findings: list[Finding]) -> list[str]:
    return [f"{finding.severity} {finding.code}: {finding.message}" for finding in findings if finding.severity != "advice"]


def text(draw: random.Random, longest: int = 24) -> str:
    words = [draw.choice(WORDS) for _ in range(draw.randint(3, longest))]
    return f"{' '.join(words).capitalize()}{draw.choice(('.', '?', '!', '. Größe: 5 €.', ' — “so”.', ' 日本 😀.'))}"


def talk(draw: random.Random, system: bool) -> dict[str, Any]:
    turns = [{"role": "system", "content": text(draw)}] if system else []
    for _ in range(draw.choice((1, 1, 2, 3))):
        turns += [{"role": "user", "content": text(draw)}, {"role": "assistant", "content": text(draw, 40)}]
    return {"messages": turns}


def rows(draw: random.Random, kind: str, number: int, system: bool) -> list[Any]:
    makers = {
        "chat": lambda: talk(draw, system),
        "prompt_completion": lambda: {"prompt": text(draw), "completion": text(draw, 40)},
        "text": lambda: {"text": " ".join(text(draw, 40) for _ in range(3))},
    }
    return [makers[kind]() for _ in range(number)]


def model(folder: Path, draw: random.Random, family: str, template: str, shared: Path) -> None:
    """A model folder whose tokenizer has the template's markers, as a real one would."""
    folder.mkdir()
    if template in ("own", "plain"):
        save_byte_tokenizer(folder, max_length=4096)
    else:
        source = CHATML if template == "chatml" else (shared / f"templates/{template}.jinja").read_text(encoding="utf-8")
        save_byte_tokenizer(folder, source, max_length=4096)
        backend = byte_tokenizer()
        marks = sorted(set(re.findall(r"<[|｜]?[^|｜<>\s'\"{}=]+[|｜]?>", source)))
        tags = [mark for mark in marks if re.fullmatch(r"</?[a-z_]+>", mark) and "turn" not in mark]
        backend.add_special_tokens([AddedToken(mark, normalized=False) for mark in marks if mark not in tags])
        backend.add_tokens([AddedToken(mark, normalized=False) for mark in tags])
        backend.save(str(folder / "tokenizer.json"))
    if template == "plain":
        (folder / "chat_template.jinja").unlink()
    size = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    shape = {"vocab_size": size + draw.choice((0, 0, 17)), "max_position_embeddings": 4096, **FAMILIES[family]}
    build_model(family, **shape).save_pretrained(folder)


def set_up(folder: Path, seed: int, shared: Path) -> Path:
    """A run file of settings that belong together, with its model folder and data, drawn by seed."""
    draw = random.Random(seed)
    family, template = draw.choice(list(FAMILIES)), draw.choice(TEMPLATES)
    kind = draw.choice(("chat", "chat", "prompt_completion", "text"))
    model(folder / "model", draw, family, template, shared)
    system = template not in ("gemma3",) and draw.random() < 0.4
    data = rows(draw, kind, draw.randint(12, 60), system)
    adapter: Any = draw.choice(["lora", "full", {"name": "lora", "rank": 4}, {"name": "freeze", "last_layers": 1}])
    whole = adapter in ("full", {"name": "freeze", "last_layers": 1})
    settings: dict[str, Any] = {
        "model": {"path": str(folder / "model"), **({"chat_template": "plain"} if template == "plain" and kind != "text" else {})},
        "method": "pretrain" if kind == "text" else "sft",
        "data": {"train": str(write_jsonl(folder / "train.jsonl", data))},
        "adapter": adapter,
        "optimizer": {
            "learning_rate": draw.choice((1e-5, 2e-5, 5e-5) if whole else (1e-4, 2e-4, 1e-3, 5e-3)),
            "warmup_share": draw.choice((0, 0.1)),
        },
        "train": {"epochs": draw.randint(1, 4), "batch_size": draw.choice((1, 4, 16)), "dtype": draw.choice(("auto", "float32"))},
        "out": str(folder / "run"),
    }
    if draw.random() < 0.3:
        settings["data"]["validation_share"] = 0.2
    elif draw.random() < 0.5:
        settings["data"]["validation"] = str(write_jsonl(folder / "held.jsonl", rows(draw, kind, 12, system)))
    if draw.random() < 0.3:
        settings["data"]["max_length"] = 4000
    if kind != "text" and draw.random() < 0.3:
        settings["data"]["too_long"] = draw.choice(("drop", "cut"))
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.mark.parametrize("seed", range(12))
def test_a_clean_set_up_gets_no_alarm(seed: int, tmp_path: Path, shared: Path):
    assert alarms(preflight(load_run(str(set_up(tmp_path, seed, shared))))) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, NUMBER))
def test_each_of_many_clean_set_ups_gets_no_alarm(seed: int, tmp_path: Path, shared: Path):
    assert alarms(preflight(load_run(str(set_up(tmp_path, seed, shared))))) == []


def test_the_demo_gets_no_alarm(tmp_path: Path):
    settings = supervised(tmp_path, Plan(), write_inputs(tmp_path, 0))
    assert alarms(preflight(load_run(None, [], **settings))) == []


def test_the_starters_own_training_gets_no_alarm(root: Path, tmp_path: Path, roomy_folder: Path):
    """examples/starter/run.yaml with a small model and a few rows in the places of those that a program there makes."""
    spec = load_run(str(root / "examples/starter/run.yaml"), model=str(roomy_folder))
    draw = random.Random(0)
    kinds = {"dialogs": "chat", "documents": "text"}
    files = {
        part: [write_jsonl(tmp_path / f"{name}-{part}.jsonl", rows(draw, kind, 20, False)) for name, kind in kinds.items()]
        for part in ("train", "validation")
    }
    data = {part: [{"path": str(path)} for path in paths] for part, paths in files.items()}
    assert alarms(preflight(spec.model_copy(update={"data": type(spec.data).model_validate(data)}))) == []


SFT = [
    "banking77/train.csv",
    "bitext_customer_support/train/Bitext_Sample_Customer_Service_Training_Dataset.csv",
    "gsm8k/train.jsonl",
    "hate_speech_davidson/labeled_data.csv",
    "llamafactory_demos/alpaca_en_demo.json",
    "llamafactory_demos/alpaca_zh_demo.json",
    "llamafactory_demos/glaive_toolcall_en_demo.json",
    "llamafactory_demos/identity.json",
    "llamafactory_demos/v1_sft_demo.jsonl",
    "nusax/sentiment/javanese/train.csv",
    "soda_chat_val/chat_val.txt",
    "sst2/stsa.binary.train",
    "superglue/BoolQ/val.jsonl",
    "superglue/RTE/train.jsonl",
    "superglue/WiC/val.jsonl",
]
PRETRAIN = ["tinyshakespeare/input.txt", "tinystories_sample/tinystories_sample.txt", "redteam/harmbench/harmbench_prompts.txt"]
"""Files that can be trained on as they are, but for rows longer than the starter's context, which are left out."""

REAL = [*((file, "sft") for file in SFT), *((file, "pretrain") for file in PRETRAIN)]


@pytest.mark.slow
@pytest.mark.parametrize("file, method", REAL, ids=[file for file, _ in REAL])
def test_a_real_data_set_gets_no_alarm(file: str, method: str, shared: Path, tmp_path: Path):
    path = shared / "data" / file
    too_long = [] if method == "pretrain" else ["data.too_long=drop"]
    spec = load_run(None, too_long, method=method, model="starter", data=[str(path)], out=str(tmp_path / "run"))
    found = preflight(spec)
    assert alarms(found) == [], json.dumps([finding.code for finding in found])
