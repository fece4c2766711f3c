"""Drawing answers: Luthier's sampler, transformers' `generate`, and the limit, in alternation, with the ratio of each round.

    python -m benchmarks.sampling                       # both shapes
    python -m benchmarks.sampling --shapes m15 --rounds 5
    python -m benchmarks.sampling --shapes tiny --new 8 --rounds 1    # does the benchmark itself work?

Prompts as long as GSM8K's questions, eight answers each, random weights in bf16, temperature 1 and nothing cut. `generate` runs padded on
the left, with the attention function that is the faster of `sdpa` and `eager` in a short run before. The limit is the time of exactly the
matrix products with the model's weights that these tokens need, laid out beforehand as Luthier does, and nothing else.

Also says which share of the answers is another one when it is drawn alone: in bf16 a product rounds otherwise for one row than for many.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers import logging as transformers_logging

from benchmarks.results import Spread
from benchmarks.shapes import SHAPES, Shape
from luthier.models.forward import Root, attention_of
from luthier.models.laid_out import LaidOut
from luthier.models.probe import probe
from luthier.models.requests import Request
from luthier.models.sample import sample_all

CASES = {"tiny": 16, "m15": 64, "m125": 32}
"""Sequences drawn at once."""

EACH = 8
"""Answers to a prompt."""

SHORTEST, LONGEST = 40, 130
"""Tokens of a prompt."""

ALONE = 16
"""Answers that are drawn a second time, alone."""


@dataclass(frozen=True, eq=False)
class Work:
    """What is drawn: `new` tokens for each of `each` answers to every prompt (n,)."""

    model: PreTrainedModel
    prompts: list[np.ndarray]
    new: int

    @property
    def num_sequences(self) -> int:
        return len(self.prompts) * EACH

    @property
    def requests(self) -> list[Request]:
        return [Request(p, self.new, address=(0, i, j)) for i, p in enumerate(self.prompts) for j in range(EACH)]


def make_work(shape: Shape, new: int) -> Work:
    torch.manual_seed(0)
    config = AutoConfig.for_model(shape.family, **{**shape.config(), "eos_token_id": None})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    draws = np.random.default_rng(0)
    lengths = draws.integers(SHORTEST, LONGEST, CASES[shape.name] // EACH)
    return Work(model, [draws.integers(3, shape.vocabulary, n) for n in lengths], new)


@torch.inference_mode()
def generated(work: Work, attention: str) -> None:
    """The same with transformers, every answer at full length."""
    longest = max(map(len, work.prompts))
    rows = [p for p in work.prompts for _ in range(EACH)]
    ids = torch.from_numpy(np.stack([np.pad(p, (longest - len(p), 0)) for p in rows]))
    mask = torch.from_numpy(np.stack([np.arange(longest) >= longest - len(p) for p in rows])).long()
    generate: Any = work.model.generate
    with attention_of(work.model, attention):
        out = generate(ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=work.new, min_new_tokens=work.new, pad_token_id=0)
    assert out.shape == (len(rows), longest + work.new)


@torch.inference_mode()
def multiplied(work: Work, shape: Shape, laid_out: LaidOut) -> None:
    """The products of one forward of all prompts, and of `new` - 1 forwards of a token a sequence; the head for each drawn token."""
    head: Any = work.model.get_output_embeddings()
    layers = [m for m in work.model.modules() if isinstance(m, nn.Linear) and m is not head]
    assert len(layers) == shape.layers * len(shape.linears)
    counts = [sum(map(len, work.prompts))] + [work.num_sequences] * (work.new - 1)
    inputs = {into: torch.randn(max(counts), into).to(head.weight.dtype) for into in {m.in_features for m in [*layers, head]}}
    with laid_out.used():
        for rows in counts:
            for layer in layers:
                layer(inputs[layer.in_features][:rows])
            head(inputs[head.in_features][: work.num_sequences])


def timed(what: Callable[[], object]) -> float:
    begin = time.perf_counter()
    what()
    return time.perf_counter() - begin


def measure(shape: Shape, new: int, rounds: int) -> None:
    work = make_work(shape, new)
    found = probe(work.model)
    root = Root(work.model, found.packing, found.head)
    short = Work(work.model, work.prompts, max(2, new // 8))
    attention = min(("sdpa", "eager"), key=lambda name: min(timed(lambda: generated(short, name)) for _ in range(2)))
    sample_all(root, short.requests)
    laid_out = LaidOut(work.model)
    multiplied(short, shape, laid_out)
    seconds: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        ours = timed(lambda: sample_all(root, work.requests))
        theirs = timed(lambda: generated(work, attention))
        seconds.append((ours, theirs, timed(lambda: multiplied(work, shape, laid_out))))
    tokens = work.num_sequences * new
    print(
        f"{shape.title}, {work.num_sequences} sequences ({len(work.prompts)} prompts), {new} new tokens, {torch.get_num_threads()} threads"
    )
    print(f"  Luthier   {Spread.of(tokens / o for o, _, _ in seconds).text(0)} tokens/s")
    print(f"  generate  {Spread.of(tokens / t for _, t, _ in seconds).text(0)} tokens/s ({attention})")
    print(f"  ratio     {Spread.of(t / o for o, t, _ in seconds).text(2, '×')}")
    print(f"  of limit  {Spread.of(100 * limit / o for o, _, limit in seconds).text(0, ' %')}")
    print(f"  another answer when drawn alone: {changed(root, work):.0%} of {min(ALONE, work.num_sequences)} in bf16", flush=True)


def changed(root: Root, work: Work) -> float:
    """The share of answers that are not the same alone."""
    requests = work.requests[:: max(1, work.num_sequences // ALONE)][:ALONE]
    crowd = sample_all(root, work.requests)[:: max(1, work.num_sequences // ALONE)][:ALONE]
    alone = [sample_all(root, [request])[0] for request in requests]
    return float(np.mean([a.ids.tolist() != b.ids.tolist() for a, b in zip(crowd, alone, strict=True)]))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=CASES, default=["m15", "m125"])
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    for name in options.shapes:
        measure(SHAPES[name], options.new, options.rounds)


if __name__ == "__main__":
    main()
