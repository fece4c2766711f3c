"""Full-width random models of public shapes through everything: train, load in `peft`, merge, chat; time and memory of each.

    python -m benchmarks.full_width                   # Qwen3-0.6B, Llama-3.2-1B and Gemma-3-1B: on 2 cores about half an hour
    python -m benchmarks.full_width gemma1b --steps 5

Random weights have the shapes, types and vocabularies of the real ones, so memory and time are theirs, and nothing has to be downloaded.
Each part is a process of its own whose memory is watched. The folders are removed afterwards; what came out goes to `results/full-width/`.
"""

import argparse
import json
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from benchmarks import rows
from benchmarks.ours import SCRIPT
from benchmarks.process import CommandFailed, Watched, run
from benchmarks.results import FOLDER, GIB
from benchmarks.shapes import SHAPES
from luthier.adapters.routing import Routing, routed
from luthier.cli._machine import read_memory, read_processor
from luthier.engine.setup import POLICY
from luthier.models.load import load_model
from luthier.recipes.assistant import load_weights

CACHE = Path(os.environ.get("LUTHIER_BENCH_CACHE") or Path.home() / ".cache" / "luthier-benchmarks")
MOST_GIB = 16
"""What each part may take."""
NUM_ROWS, ROWS_PER_STEP = 64, 4
SAME = 1e-5
"""Largest relative difference between the logits of this project's adapter and of `peft`'s, in fp32."""

Part = dict[str, Any]


def through(name: str, num_steps: int, threads: int, scratch: Path) -> dict[str, Part]:
    """One shape through every part; part → seconds, GiB and what it said.

    Raises:
        CommandFailed: a part that ended badly.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    model, tuned, merged = scratch / "model", scratch / "run", scratch / "merged"
    here: list[str | Path] = [sys.executable, "-m"]
    found: dict[str, Part] = {}

    def part(title: str, command: list[str | Path]) -> Part:
        print(f"  {title}", flush=True)
        watched = run(command, threads, scratch / f"{title}.log")
        found[title] = {**_figures(watched), **_said(scratch / f"{title}.log")}
        return found[title]

    part("make", [*here, "benchmarks.shapes", name, model])
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    data = rows.write(scratch / "rows.jsonl", rows.generated(NUM_ROWS, lambda text: len(tokenizer.encode(text).ids)))
    given = [f"train.max_steps={num_steps}", f"train.batch_size={ROWS_PER_STEP}", 'evaluation.prompts=["What is 2 plus 3?"]']
    given += ["evaluation.max_new_tokens=8", "train.dtype=bfloat16", f"train.threads={threads}"]
    record = part("train", [SCRIPT, "train", "sft", "--model", model, "--data", data, "--out", tuned, "--json", *given])
    found["train"] = {**_figures_of(record), **_of_record(record)}
    part("peft", [*here, "benchmarks.full_width", "--compare", tuned, model])
    part("merge", [SCRIPT, "merge", tuned, merged, "--json"])
    part("chat", [SCRIPT, "chat", merged, "--prompt", "What is 2 plus 3?", "--max-new-tokens", "8", "--json"])
    return found


def compare(tuned: Path, model: Path) -> dict[str, float]:
    """The adapter in fp32 as this project and as `peft` computes with it: how far apart, and how far from the base.

    Raises:
        SystemExit: they differ.
    """
    ids = torch.arange(5, 69)[None]
    opened = load_model(model, torch.float32, torch.device("cpu"))
    load_weights(opened, tuned / "adapter", whole=False, on_base=True)
    with torch.no_grad(), routed(Routing(POLICY)):
        ours = opened(input_ids=ids, use_cache=False).logits
    with torch.no_grad(), routed(Routing(None)):
        base = opened(input_ids=ids, use_cache=False).logits
    del opened
    theirs = _of_peft(tuned / "adapter", model, ids)
    apart, moved = (float((logits - ours).norm() / ours.norm()) for logits in (theirs, base))
    if not apart <= SAME:
        raise SystemExit(f"peft's logits differ by {apart:.1e} (allowed {SAME:g}; the adapter itself changes them by {moved:.1e}).")
    return {"difference": apart, "effect": moved}


@torch.no_grad()
def _of_peft(adapter: Path, model: Path, ids: torch.Tensor) -> torch.Tensor:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")
    logits: torch.Tensor = PeftModel.from_pretrained(base, str(adapter)).eval()(input_ids=ids, use_cache=False).logits
    return logits


def _figures(watched: Watched) -> Part:
    return {"seconds": round(watched.seconds, 1), "peak_gib": round(watched.peak_bytes / GIB, 2)}


def _figures_of(part: Part) -> Part:
    return {name: part[name] for name in ("seconds", "peak_gib")}


def _said(log: Path) -> Part:
    """The JSON value that a command printed, and nothing of what stands before it."""
    text = log.read_text(encoding="utf-8", errors="replace")
    value: Part = json.loads(text[text.index("\n{") :] if "\n{" in text else text) if "{" in text else {}
    return {f"said_{name}" if name in ("seconds", "peak_gib") else name: item for name, item in value.items()}


def _of_record(record: Part) -> Part:
    worst = max(record["certificate"], key=lambda finding: float(finding["fp32"]))
    return {
        "num_parameters": record["model"]["num_parameters"],
        "num_trainable": record["model"]["num_trainable"],
        "certificate_fp32": worst["fp32"],
        "certificate_layers": worst["layers"],
        "reload_difference": record["artefact"]["reload_difference"],
        "tokens_per_second": record["tokens_per_second"],
    }


def show(name: str, found: dict[str, Part]) -> str:
    train, peft, merge = found["train"], found["peft"], found["merge"]
    lines = [
        f"{SHAPES[name].title}, {train['num_parameters']:,} parameters, {SHAPES[name].vocabulary:,} words",
        *(f"  {part:<6} {figures['seconds']:7.1f} s  {figures['peak_gib']:5.2f} GiB" for part, figures in found.items()),
        f"  certificate {train['certificate_fp32']:.1e} in fp32 ({train['certificate_layers']} layers); saved and loaded again: logits "
        f"differ by {train['reload_difference']:.1e}",
        f"  peft's logits differ by {peft['difference']:.1e}; those of the merged model, in {merge['dtype']}, by {merge['difference']:.1e} "
        f"(allowed {merge['tolerance']:.1e}); the adapter changes them by {merge['effect']:.1e}",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", default=["m600", "llama1b", "gemma1b"], help=", ".join(SHAPES))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("RUN", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compare:
        print(json.dumps(compare(*options.compare)))
        return
    if unknown := [name for name in options.shapes if name not in SHAPES]:
        parser.error(f"there is no shape {unknown[0]}; there are {', '.join(SHAPES)}")
    results: dict[str, Any] = {
        "processor": read_processor().model,
        "memory_gib": round(read_memory().total_gib, 1),
        "threads": options.threads,
    }
    file = options.out / "full-width" / f"{datetime.now():%Y-%m-%d}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    for name in options.shapes:
        scratch = options.cache / "full-width" / name
        shutil.rmtree(scratch, ignore_errors=True)
        print(SHAPES[name].title, flush=True)
        try:
            results[name] = through(name, options.steps, options.threads, scratch)
        except CommandFailed as error:
            raise SystemExit(f"{SHAPES[name].title}: {error}") from error
        shutil.rmtree(scratch)
        print(show(name, results[name]), flush=True)
        file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        over = [part for part, figures in results[name].items() if figures["peak_gib"] > MOST_GIB]
        if over:
            raise SystemExit(f"{SHAPES[name].title}: {over[0]} took more than {MOST_GIB} GiB")
    print(f"Written to {file}")


if __name__ == "__main__":
    main()
