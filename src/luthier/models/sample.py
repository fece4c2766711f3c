"""Drawing answers: one sequence at a time, with the model's own key/value cache.

Every draw inverts the cumulative distribution at one uniform number that is addressed by (seed, …, position), so the same address draws
the same answer whatever was drawn before.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from luthier.adapters.routing import Routing, routed
from luthier.batches.answers import Answer
from luthier.data.seeded import generator
from luthier.models.forward import Root, attention_of


@torch.no_grad()
def sample(
    root: Root,
    adapter: str | None,
    prompt: np.ndarray,
    max_new_tokens: int,
    temperature: float,
    address: tuple[int, ...],
    stops: frozenset[int],
    top_p: float = 1.0,
    on_token: Callable[[int], None] | None = None,
) -> Answer:
    """Draw one answer to `prompt` (n,), greedily at temperature 0; the stop token is part of it.

    Args:
        address: (seed, …) of this answer. top_p: draw only from the most likely tokens that hold this share. on_token: called with each.
    """
    uniform = generator(address[0], "sample", *address[1:]).random(max_new_tokens)
    model, training = root.model, root.model.training
    model.eval()
    ids, logprobs = [], []
    tokens = torch.from_numpy(np.asarray(prompt, dtype=np.int64))[None].to(root.device)
    cache = None
    try:
        with routed(Routing(adapter)), attention_of(model, root.native_attention):
            for u in uniform:
                out = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = out.past_key_values
                token, logprob = draw(out.logits[0, -1].float(), temperature, float(u), top_p)
                ids.append(token)
                logprobs.append(logprob)
                if on_token is not None:
                    on_token(token)
                if token in stops:
                    break
                tokens = torch.tensor([[token]], device=root.device)
    finally:
        model.train(training)
    return Answer(np.array(ids, dtype=np.int64), np.array(logprobs, dtype=np.float32), bool(ids) and ids[-1] in stops)


def draw(logits: Tensor, temperature: float, uniform: float, top_p: float = 1.0) -> tuple[int, float]:
    """A token from logits (V,) and its log-probability at that temperature (at 1 where greedy), before top-p."""
    if temperature == 0:
        token = int(logits.argmax())
        return token, float(logits.log_softmax(-1)[token])
    logp = (logits / temperature).log_softmax(-1)
    probability = logp.exp()
    if top_p < 1:
        ordered, index = probability.sort(descending=True)
        outside = ordered.cumsum(-1) - ordered >= top_p
        probability = probability.index_fill(0, index[outside], 0.0)
    cumulative = probability.double().cumsum(-1)
    last = torch.searchsorted(cumulative, cumulative[-1])  # of those with any probability: a uniform just below 1 may round up to the sum
    token = int(torch.searchsorted(cumulative, uniform * cumulative[-1], right=True).minimum(last))
    return token, float(logp[token])
