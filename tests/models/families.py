"""Tiny random models of the families that streams must be right for, rows to compute on, and the gradient anybody would write down."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers as hf
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers import logging as hf_logging

from luthier.adapters import full, lora
from luthier.batches.examples import Example, Lot
from luthier.engine.gradient import StepSums, accumulate
from luthier.methods import sft
from luthier.methods.base import Order, Roles
from luthier.models.forward import Root
from luthier.models.roles import PolicyModel
from luthier.text.sequence import Sequence as Ids

Gradient = dict[str, Tensor]

VOCABULARY = 97
ADAPTER = "policy"

LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {**LLAMA, "head_dim": 8}
TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
TWO_KINDS = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}
FOUR_LAYERS = {**HEADS, "num_hidden_layers": 4, "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"] * 2}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "factor": 4.0,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "original_max_position_embeddings": 64,
}

TIER_1: dict[str, tuple[Any, dict[str, Any]]] = {
    "Llama": (hf.LlamaConfig, LLAMA),
    "Qwen2": (hf.Qwen2Config, {**LLAMA, "tie_word_embeddings": True}),
    "Qwen3": (hf.Qwen3Config, HEADS),
    "Mistral": (hf.MistralConfig, {**LLAMA, "sliding_window": 5}),
    "Gemma2": (
        hf.Gemma2Config,
        {**HEADS, **TWO_KINDS, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 1.0, "final_logit_softcapping": 3.0},
    ),
    "Gemma3": (hf.Gemma3TextConfig, {**HEADS, **TWO_KINDS, "query_pre_attn_scalar": 8}),
    "Gemma4": (
        hf.Gemma4TextConfig,
        {
            **FOUR_LAYERS,
            "global_head_dim": 16,
            "num_kv_shared_layers": 2,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCABULARY,
            "final_logit_softcapping": 3.0,
        },
    ),
    "Phi3": (hf.Phi3Config, {**LLAMA, "original_max_position_embeddings": 64, "rope_parameters": LONGROPE}),
    "GPT-2": (
        hf.GPT2Config,
        {**TOKENS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    ),
    "GPT-NeoX": (hf.GPTNeoXConfig, {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}),
    "OLMo2": (hf.Olmo2Config, LLAMA),
    "Granite": (hf.GraniteConfig, {**LLAMA, "logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5}),
    "Llama 4": (
        hf.Llama4TextConfig,
        {
            **HEADS,
            "attention_chunk_size": 8,
            "num_local_experts": 2,
            "intermediate_size_mlp": 64,
            "num_experts_per_tok": 1,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
        },
    ),
    "gpt-oss": (
        hf.GptOssConfig,
        {
            **HEADS,
            **TWO_KINDS,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
    ),
    "Qwen3-MoE": (hf.Qwen3MoeConfig, {**HEADS, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
}
TIER_2: dict[str, tuple[Any, dict[str, Any]]] = {
    "GPT-Neo": (
        hf.GPTNeoConfig,
        {
            **TOKENS,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 5,
            "max_position_embeddings": 128,
        },
    ),
}
TIER_3: dict[str, tuple[Any, dict[str, Any]]] = {
    "Bloom": (hf.BloomConfig, {**TOKENS, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "Qwen3.5": (
        hf.Qwen3_5TextConfig,
        {
            **HEADS,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
    "Falcon-H1": (hf.FalconH1Config, {**HEADS, "mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16}),
}
FAMILIES = {**TIER_1, **TIER_2, **TIER_3}
TIERS = {**dict.fromkeys(TIER_1, 1), **dict.fromkeys(TIER_2, 2), **dict.fromkeys(TIER_3, 3)}

SHARED = 40
"""Tokens that three of the rows begin with: longer than every window and chunk, and than the shortest beginning worth sharing."""


def family(name: str, **changes: Any) -> PreTrainedModel:
    """A model whose weights are large enough for attention, caps and sinks to matter; `changes` go over its settings."""
    hf_logging.set_verbosity_error()
    kind, settings = FAMILIES[name]
    config = kind(**{**settings, **changes})
    if hasattr(config, "initializer_range"):
        config.initializer_range = 0.25
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
        for key, parameter in model.named_parameters():
            if key.endswith("sinks"):
                nn.init.normal_(parameter, mean=2.0)
    return model.eval()


def same_weights(name: str, model: PreTrainedModel, **changes: Any) -> PreTrainedModel:
    """A twin of `model` with other settings."""
    twin = family(name, **changes)
    twin.load_state_dict(model.state_dict(), strict=False)
    return twin


def row(ids: Sequence[int] | np.ndarray, weights: Sequence[float] | np.ndarray | None = None) -> Example:
    """A row of one sequence; every token but the first counts 1 unless `weights` says otherwise."""
    counted = np.r_[0, np.ones(len(ids) - 1)] if weights is None else np.asarray(weights)
    return Example((Ids(np.asarray(ids, dtype=np.int64), counted.astype(np.float32)),))


def rows(lengths: tuple[int, ...] = (71, 53, 45), alone: tuple[int, ...] = (60, 9), seed: int = 0) -> list[Example]:
    """Rows of `lengths`, which share their first `SHARED` tokens, and rows `alone`; some tokens are only read, some count half."""
    draws = np.random.default_rng(seed)
    common = draws.integers(3, VOCABULARY, SHARED)
    ids = [np.r_[common, draws.integers(3, VOCABULARY, n - SHARED)] for n in lengths]
    ids += [draws.integers(3, VOCABULARY, n) for n in alone]
    return [row(x, np.r_[0, draws.choice([0.0, 0.5, 1.0], len(x) - 1, p=[0.2, 0.3, 0.5])]) for x in ids]


def with_lora(model: PreTrainedModel, name: str = ADAPTER, seed: int = 0, **settings: Any) -> dict[str, nn.Parameter]:
    """Put an adapter on every linear layer, far from zero: at B = 0 the gradient of A is zero whatever attention does."""
    generator = torch.Generator().manual_seed(seed)
    lora.attach(model, lora.Config(**{"rank": 3, "alpha": 6, **settings}), name, generator, model.get_output_embeddings())
    learning = lora.trainable(model, name)
    with torch.no_grad():
        for parameter in learning.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return learning


def with_full(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    full.attach(model, full.Config(), ADAPTER, torch.Generator(), None)
    return full.trainable(model, ADAPTER)


TUNINGS: dict[str, Callable[[PreTrainedModel], dict[str, nn.Parameter]]] = {"lora": with_lora, "full": with_full}


def fast(root: Root, adapter: str | None, examples: Sequence[Example], learning: dict[str, nn.Parameter], budget: int) -> StepSums:
    """The engine's gradient of SFT over all of `examples`, left in `learning`."""
    clear(learning)
    method = sft.SFT(sft.Config(), Roles(PolicyModel(root, adapter)), Order(batch_size=len(examples), seed=0))
    return accumulate(method, Lot(tuple(examples)), budget, root.packing, torch.device("cpu"), (0, 0))  # type: ignore[arg-type]


def one_by_one(model: PreTrainedModel, examples: Sequence[Example], learning: dict[str, nn.Parameter]) -> float:
    """-Σ w log p / Σ w, a sequence a forward, with the model's own attention and logits. Returns the loss, leaves its gradient."""
    clear(learning)
    sequences = [s for example in examples for s in example.sequences]
    total = sum(float(s.weights.sum()) for s in sequences)
    loss = 0.0
    for s in sequences:
        ids = torch.from_numpy(s.ids)
        logp = model(input_ids=ids[None], use_cache=False).logits[0].float().log_softmax(-1)
        part = -(torch.from_numpy(s.weights[1:]) * logp[:-1].gather(1, ids[1:, None])[:, 0]).sum() / total
        part.backward()  # type: ignore[no-untyped-call]
        loss += float(part.detach())
    return loss


def clear(learning: dict[str, nn.Parameter]) -> None:
    for parameter in learning.values():
        parameter.grad = None


def gradient(learning: dict[str, nn.Parameter]) -> Gradient:
    """A copy; zero where nothing reached."""
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in learning.items()}


def difference(ours: Gradient, theirs: Gradient) -> float:
    """‖ours - theirs‖ / ‖theirs‖ over all weights together."""
    assert ours.keys() == theirs.keys()
    size = sum(float(g.double().square().sum()) for g in theirs.values()) ** 0.5
    return sum(float((ours[k].double() - g.double()).square().sum()) for k, g in theirs.items()) ** 0.5 / size


def worst_weight(ours: Gradient, theirs: Gradient) -> float:
    """The largest relative difference of a single weight matrix; one that hardly gets a gradient is measured against a typical one."""
    typical = float(torch.stack([g.norm() for g in theirs.values()]).median())
    return max(float((ours[k] - g).norm()) / max(float(g.norm()), 0.1 * typical) for k, g in theirs.items())
