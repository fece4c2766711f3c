"""How wrong `luthier plan` is about memory: predicted against measured peaks, each of a real `luthier train` in a process of its own.

    python -m benchmarks.plan_error                 # every configuration, one after the other
    python -m benchmarks.plan_error small-long      # some of them; the others keep what was measured before
    python -m benchmarks.plan_error --again         # no run: what was measured before against what is predicted now

What is compared is what comes on top of what the process holds before its model is loaded. Writes the table to `results/`, and the figures
that `luthier plan` shows to `src/luthier/recipes/plan_error.json`.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.process import ROOT, run
from benchmarks.results import FOLDER, Machine, as_table
from benchmarks.run import machine
from luthier.recipes.plan import Error, estimate, survey
from luthier.spec.load import load_request
from luthier.testing import save_byte_tokenizer, write_jsonl

CACHE = Path(os.environ.get("LUTHIER_BENCH_CACHE") or Path.home() / ".cache" / "luthier-benchmarks") / "plan"
SHOWN = ROOT / "src" / "luthier" / "recipes" / "plan_error.json"
RESULTS = FOLDER / "plan" / "error.json"
MIB = 2**20

Shape = tuple[str, int, int, int, int, int, int]
"""Family, width, inner width, layers, heads, key/value heads, vocabulary."""

TINY: Shape = ("llama", 256, 704, 4, 4, 2, 4096)
SMALL: Shape = ("llama", 512, 1408, 6, 8, 4, 8192)
MIDDLE: Shape = ("llama", 768, 2048, 6, 12, 4, 32000)
DEEP: Shape = ("llama", 512, 1408, 24, 8, 4, 8192)
WORDY: Shape = ("qwen3", 512, 1408, 4, 8, 4, 151936)
LARGE: Shape = ("llama", 1024, 2816, 20, 16, 8, 32000)
LARGEST: Shape = ("qwen3", 1280, 3584, 26, 20, 10, 64000)
OTHER: Shape = ("gpt2", 640, 2560, 8, 10, 10, 16384)


@dataclass(frozen=True)
class Configuration:
    """A run: a shape with random weights, rows of about `row_tokens` tokens, and settings."""

    name: str
    shape: Shape
    row_tokens: int
    settings: tuple[str, ...]
    num_rows: int = 48


def _settings(dtype: str, budget: int, rows: int, *more: str) -> tuple[str, ...]:
    fixed = ("train.max_steps=2", "evaluation.prompts=[]", "checkpoints.every=1000000", "certificate.rows=2")
    return (*fixed, f"train.dtype={dtype}", f"train.token_budget={budget}", f"train.batch_size={rows}", *more)


CONFIGURATIONS = {
    c.name: c
    for c in (
        Configuration("tiny", TINY, 100, _settings("float32", 512, 8)),
        Configuration("small-long", SMALL, 180, _settings("bfloat16", 8192, 48), 96),
        Configuration("small-long-fp32", SMALL, 180, _settings("float32", 4096, 24)),
        Configuration("small-long-checkpointed", SMALL, 180, _settings("bfloat16", 8192, 48, "train.gradient_checkpointing=true"), 96),
        Configuration("small-one-row", SMALL, 2000, _settings("bfloat16", 2048, 1), 6),
        Configuration("small-full", SMALL, 180, _settings("bfloat16", 2048, 12, "adapter=full")),
        Configuration("middle", MIDDLE, 180, _settings("bfloat16", 2048, 12)),
        Configuration("middle-fp32", MIDDLE, 180, _settings("float32", 2048, 12)),
        Configuration("middle-full", MIDDLE, 80, _settings("bfloat16", 512, 8, "adapter=full")),
        Configuration("middle-full-fp32", MIDDLE, 80, _settings("float32", 512, 8, "adapter=full")),
        Configuration("middle-freeze", MIDDLE, 80, _settings("bfloat16", 2048, 24, "adapter=freeze")),
        Configuration("deep", DEEP, 120, _settings("bfloat16", 2048, 18)),
        Configuration("wordy", WORDY, 100, _settings("bfloat16", 1024, 10)),
        Configuration("wordy-full-fp32", WORDY, 60, _settings("float32", 256, 4, "adapter=full")),
        Configuration("other-full-fp32", OTHER, 80, _settings("float32", 1024, 12, "adapter=full")),
        Configuration("large", LARGE, 60, _settings("bfloat16", 512, 8)),
        Configuration("large-fp32", LARGE, 60, _settings("float32", 256, 4, "train.gradient_checkpointing=true")),
        Configuration("largest", LARGEST, 60, _settings("bfloat16", 256, 4)),
    )
}


class Outcome(msgspec.Struct, frozen=True):
    """Bytes. `base`: before the model was loaded. `seconds`: of the run."""

    name: str
    model: str
    settings: str
    parameters: int
    base: int
    peak: int
    predicted: int
    phase: str
    seconds: float

    @property
    def error(self) -> float:
        """Of what is predicted above the base, relative to what was measured."""
        return self.predicted / (self.peak - self.base) - 1

    @property
    def is_large(self) -> bool:
        return self.peak >= 3 * self.base


class Comparison(msgspec.Struct, frozen=True):
    date: str
    machine: Machine
    outcomes: tuple[Outcome, ...]


def folder_of(configuration: Configuration) -> Path:
    """The model's folder, made once."""
    family, width, inner, layers, heads, kv_heads, vocabulary = configuration.shape
    folder = CACHE / f"{family}-{width}-{inner}-{layers}-{vocabulary}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    ends = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
    if family == "gpt2":
        sizes = {"n_embd": width, "n_inner": inner, "n_layer": layers, "n_head": heads, "n_positions": 4096}
    else:
        sizes = {
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": width // heads,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
        }
    config = AutoConfig.for_model(family, **sizes, vocab_size=vocabulary, **ends)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(partial)
    save_byte_tokenizer(partial, max_length=4096)
    partial.rename(folder)
    return folder


def rows_of(configuration: Configuration) -> Path:
    """Conversations of random letters: a byte is a token, a third of them asks."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz "
    path = CACHE / f"rows-{configuration.row_tokens}-{configuration.num_rows}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)

    def text(length: float) -> str:
        return "".join(draw.choices(letters, k=max(4, round(length * draw.uniform(0.7, 1.0))))).strip() or "a"

    conversations = [
        [
            {"role": "user", "content": text(configuration.row_tokens / 3)},
            {"role": "assistant", "content": text(configuration.row_tokens / 1.5)},
        ]
        for _ in range(configuration.num_rows)
    ]
    return write_jsonl(path, [{"messages": messages} for messages in conversations])


def predicted(configuration: Configuration) -> tuple[int, int, str]:
    """Parameters, bytes above the base, and the phase that they are reached in."""
    spec = load_request("sft", list(configuration.settings), model=str(folder_of(configuration)), data=str(rows_of(configuration)))
    known = survey(spec)
    plan = estimate(spec, known)
    return plan.parameters, plan.peak.bytes - known.base, plan.peak.name


def measured(configuration: Configuration, threads: int) -> tuple[int, int, float]:
    """Base, peak and seconds of a real run."""
    scratch = CACHE / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    out = scratch / "run"
    call = "from luthier.cli.main import main; main()"
    command = [sys.executable, "-c", call, "train", "sft", "--model", folder_of(configuration), "--data", rows_of(configuration)]
    watched = run([*command, "--out", out, "--json", *configuration.settings], threads, scratch / "log")
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    shutil.rmtree(scratch)
    return record["memory_before_model_bytes"], record["peak_memory_bytes"], watched.seconds


def compare(configuration: Configuration, threads: int, before: Outcome | None) -> Outcome:
    """Measured now, or as it was `before`; predicted now in any case."""
    base, peak, seconds = (before.base, before.peak, before.seconds) if before else measured(configuration, threads)
    parameters, above, phase = predicted(configuration)
    model = f"{configuration.shape[0]}, {parameters / 1e6:.0f}M"
    settings = " ".join(s for s in configuration.settings[4:])
    return Outcome(configuration.name, model, settings, parameters, base, peak, above, phase, seconds)


def table(outcomes: Iterable[Outcome]) -> str:
    """As Markdown."""
    head = ("run", "model", "settings", "before the model", "measured above", "predicted above", "error", "reached in")
    body = [
        (
            o.name,
            o.model,
            o.settings,
            *(f"{size / MIB:,.0f} MiB" for size in (o.base, o.peak - o.base, o.predicted)),
            f"{o.error:+.1%}",
            o.phase,
        )
        for o in outcomes
    ]
    return as_table([head, *body])


def summary(found: Comparison) -> str:
    errors = [abs(o.error) for o in found.outcomes]
    large = sum(o.is_large for o in found.outcomes)
    return (
        f"Median error {statistics.median(errors):.1%}, largest {max(errors):.1%}, on {len(errors)} configurations, of which {large} need "
        f"at least three times what the process holds before its model. Measured {found.date} on {found.machine}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *CONFIGURATIONS], default=[])
    parser.add_argument("--again", action="store_true", help="run nothing; predict again")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    known = {o.name: o for o in msgspec.json.decode(RESULTS.read_bytes(), type=Comparison).outcomes} if RESULTS.is_file() else {}
    chosen = options.names or list(CONFIGURATIONS)
    for name in chosen:
        before = known.get(name) if options.again else None
        if options.again and before is None:
            continue
        known[name] = compare(CONFIGURATIONS[name], options.threads, before)
        print(table([known[name]]).splitlines()[-1], flush=True)
        write(Comparison(str(date.today()), machine(), tuple(known[n] for n in CONFIGURATIONS if n in known)))


def write(found: Comparison) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    RESULTS.with_suffix(".md").write_text(f"{table(found.outcomes)}\n\n{summary(found)}\n", encoding="utf-8")
    errors = [abs(o.error) for o in found.outcomes]
    shown = Error(round(statistics.median(errors), 3), round(max(errors), 3), len(errors), found.date)
    SHOWN.write_text(json.dumps(vars(shown), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
