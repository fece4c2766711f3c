"""What a model thinks of prompts themselves: the log-probability of each token after those before it, as in training."""

from collections.abc import Sequence

import numpy as np
import torch

from luthier.batches.example import Example
from luthier.batches.streams import build_stream
from luthier.models.forward import Root
from luthier.text.sequence import Sequence as Ids

Score = tuple[float, tuple[tuple[int, float], ...]]
"""A token's log-probability, and the likeliest tokens at its place with theirs."""


@torch.inference_mode()
def prompt_scores(root: Root, adapter: str | None, prompts: Sequence[np.ndarray], num_top: int) -> list[list[Score]]:
    """Of every token but the first, of prompts (n,) that share one stream."""
    rows = [Example((Ids(ids, np.r_[0, np.ones(len(ids) - 1)].astype(np.float32)),)) for ids in prompts]
    stream = build_stream(rows, root.packing).to(root.device)
    found: list[Score] = []
    for logits in root.logits_at(stream, adapter):
        logprobs = logits.log_softmax(-1)
        targets = stream.targets[len(found) : len(found) + len(logprobs)]
        chosen = logprobs.gather(1, targets[:, None])[:, 0].tolist()
        best = logprobs.topk(num_top)
        tops = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        found += [(value, tuple(zip(*top, strict=True))) for value, top in zip(chosen, tops, strict=True)]
    ends = np.cumsum([len(ids) - 1 for ids in prompts]).tolist()
    return [found[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
