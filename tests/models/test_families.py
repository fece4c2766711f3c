"""Every family: the probe finds what its rows may do together, and gradients are then those of one row at a time."""

from typing import Any

import pytest
import torch
from tests.models.families import (
    ADAPTER,
    FAMILIES,
    TIERS,
    TUNINGS,
    difference,
    family,
    fast,
    gradient,
    one_by_one,
    row,
    rows,
    same_weights,
    with_full,
    worst_weight,
)

from luthier.adapters.routing import Routing, routed
from luthier.batches.examples import Example
from luthier.batches.packing import Packing
from luthier.batches.streams import build_stream
from luthier.models import probe as probing
from luthier.models.forward import Root
from luthier.models.probe import probe

TOLERANCE = 1e-5
BUDGET = 120
"""Tokens a stream: the rows need two at least."""


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_equal_those_of_one_row_at_a_time(name: str, tuning: str) -> None:
    """Packed, with a shared beginning computed once where the family allows it, and accumulated over several streams."""
    model = family(name)
    found = probe(model)
    assert found.packing.tier == TIERS[name], found.reason
    assert found.head is not None
    learning = TUNINGS[tuning](model)
    adapter = ADAPTER if tuning == "lora" else None
    examples = rows()

    with routed(Routing(adapter)):
        loss = one_by_one(model, examples, learning)
    theirs = gradient(learning)
    sums = fast(Root(model, found.packing, found.head), adapter, examples, learning, BUDGET)
    ours = gradient(learning)

    assert sums.num_streams >= 2
    assert (sums.num_computed < sums.num_tokens) == (TIERS[name] == 1)
    assert sums.loss == pytest.approx(loss, rel=1e-5)
    assert difference(ours, theirs) < TOLERANCE
    assert worst_weight(ours, theirs) < 10 * TOLERANCE


@pytest.mark.parametrize("name", ["Gemma3", "GPT-Neo", "Bloom"])
def test_the_token_budget_changes_no_gradient(name: str) -> None:
    """Pairs, two of whose answers share a prompt: all in as few streams as may be, in two, and a pair a stream."""
    model = family(name, max_position_embeddings=512)
    found = probe(model)
    root, learning = Root(model, found.packing, found.head), with_full(model)
    singles = rows((71, 53, 45, 66), alone=(60, 9))
    examples = [Example(singles[i].sequences + singles[i + 1].sequences) for i in (0, 2, 4)]
    gradients = {}
    for budget in (10_000, 190, 1):
        streams = fast(root, None, examples, learning, budget).num_streams
        gradients[streams] = gradient(learning)
    assert len(gradients) >= 2 and max(gradients) == 3
    for g in gradients.values():
        assert difference(g, gradients[3]) < 1e-6
    one_by_one(model, examples, learning)
    assert difference(gradients[3], gradient(learning)) < TOLERANCE


FEATURES: dict[str, tuple[str, dict[str, Any]]] = {
    "sliding window of Mistral": ("Mistral", {"sliding_window": 256}),
    "sliding window of Gemma3": ("Gemma3", {"sliding_window": 256}),
    "sliding window of gpt-oss": ("gpt-oss", {"sliding_window": 256}),
    "chunks of Llama 4": ("Llama 4", {"attention_chunk_size": 256}),
    "cap on attention of Gemma2": ("Gemma2", {"attn_logit_softcapping": None}),
    "cap on logits of Gemma2": ("Gemma2", {"final_logit_softcapping": None}),
    "cap on logits of Gemma4": ("Gemma4", {"final_logit_softcapping": None}),
    "scale of the logits of Granite": ("Granite", {"logits_scaling": 1.0}),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_what_a_family_is_tested_for_matters_here(feature: str) -> None:
    """Without it the gradient would be another one, by far more than the tolerance: a path that dropped it could not pass."""
    name, without = FEATURES[feature]
    model, examples = family(name), rows()
    twin = same_weights(name, model, **without)
    gradients = []
    for m in (model, twin):
        learning = with_full(m)
        one_by_one(m, examples, learning)
        gradients.append(gradient(learning))
    assert difference(gradients[1], gradients[0]) > 1000 * TOLERANCE


def test_sinks_of_gpt_oss_matter_here() -> None:
    """Sinks at -10⁴ take no share of any softmax."""
    model, examples = family("gpt-oss"), rows()
    learning = with_full(model)
    one_by_one(model, examples, learning)
    with_sinks = gradient(learning)
    sinks = [p for name, p in learning.items() if name.endswith("sinks")]
    assert len(sinks) == 2 and all(with_sinks[name].norm() > 0 for name in learning if name.endswith("sinks"))
    with torch.no_grad():
        for p in sinks:
            p.fill_(-1e4)
    one_by_one(model, examples, learning)
    assert difference(gradient(learning), with_sinks) > 1000 * TOLERANCE


def test_a_tied_weight_gets_the_gradient_of_the_embedding_and_of_the_head() -> None:
    model, examples = family("Qwen2"), rows()
    apart = same_weights("Qwen2", model, tie_word_embeddings=False)
    apart.lm_head.weight.data.copy_(model.lm_head.weight.data)
    found = {}
    for m in (model, apart):
        learning = with_full(m)
        fast(Root(m, Packing(1), probe(m).head), None, examples, learning, BUDGET)
        found[m] = gradient(learning)
    as_embedding, as_head = found[apart]["model.embed_tokens.weight"], found[apart]["lm_head.weight"]
    assert as_embedding.norm() > 0.01 * as_head.norm()
    assert "lm_head.weight" not in found[model]
    torch.testing.assert_close(found[model]["model.embed_tokens.weight"], as_embedding + as_head, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_checkpointing_changes_no_gradient_of_a_step(name: str) -> None:
    model, examples = family(name), rows()
    found = probe(model)
    root = Root(model, found.packing, found.head)
    learning = TUNINGS["lora"](model)
    fast(root, ADAPTER, examples, learning, BUDGET)
    off = gradient(learning)
    root.enable_checkpointing()
    model.train()
    fast(root, ADAPTER, examples, learning, BUDGET)
    assert difference(gradient(learning), off) < 1e-6


DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}


def _longrope() -> Any:
    return family("Phi3")


def _dynamic() -> Any:
    """Positions as trained up to 64, and beyond that another base for every length."""
    return family("Llama", max_position_embeddings=64, rope_parameters=DYNAMIC)


@pytest.mark.parametrize("make", [_longrope, _dynamic])
@pytest.mark.parametrize(
    "lengths", [(64, 50, 45), (65, 80, 70), (64, 65, 45), (80, 44, 100)], ids=["within", "beyond", "at the edge", "both sides"]
)
def test_a_short_row_beside_a_longer_one_equals_alone(make: Any, lengths: tuple[int, int, int]) -> None:
    """The longest position of a forward chooses the frequencies: rows on two sides of the original context never share one."""
    model = make()
    packing, examples = probe(model).packing, rows(lengths, alone=())
    learning = with_full(model)
    expected = []
    for example in examples:  # a fresh model each: transformers' dynamic frequencies remember longer rows
        fresh = make()
        alone = with_full(fresh)
        one_by_one(fresh, [example], alone)
        weight = float(example.sequences[0].weights.sum())
        expected.append({name: g * weight for name, g in gradient(alone).items()})
    total = sum(float(e.sequences[0].weights.sum()) for e in examples)
    theirs = {name: sum(e[name] for e in expected) / total for name in expected[0]}
    root = Root(model, packing, probe(model).head)
    for _ in range(2):  # the second time after the longest row was seen
        fast(root, None, examples, learning, 10_000)
        assert difference(gradient(learning), theirs) < TOLERANCE  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [_longrope, _dynamic])
def test_positions_beyond_the_original_context_matter_here(make: Any) -> None:
    """One stream of both sides gives the short row the long row's frequencies, and another gradient."""
    model, examples = make(), rows((80, 44), alone=())
    learning = with_full(model)
    head = probe(model).head
    found = []
    for packing in (probe(model).packing, Packing(1)):
        fast(Root(model, packing, head), None, examples, learning, 10_000)
        found.append(gradient(learning))
    assert difference(found[1], found[0]) > 100 * TOLERANCE


def test_a_dynamic_row_does_not_depend_on_the_rows_before_it() -> None:
    """Frequencies of 100 tokens would stay for the row of 70 that comes after them."""
    model = _dynamic()
    root = Root(model, probe(model).packing, None)
    short, long = (build_stream([row(rows((n,), alone=(), seed=1)[0].sequences[0].ids)], root.packing) for n in (70, 100))
    with torch.no_grad():
        first = root.hidden(short, None)
        root.hidden(long, None)
        torch.testing.assert_close(root.hidden(short, None), first, rtol=0, atol=0)


def test_the_probe_says_where_positions_change() -> None:
    assert probe(_longrope()).packing == Packing(1, thresholds=(64,))
    assert probe(_dynamic()).packing == Packing(1, apart_beyond=64)
    assert probe(family("Llama")).packing == Packing(1)


def test_a_model_with_a_mask_of_its_context_gets_no_longer_stream() -> None:
    """GPT-Neo holds one of 128 x 128: rows of 71 + 53, 71 + 70, and a pair of 60 + 71 in turns of one forward each."""
    model = family("GPT-Neo")
    found = probe(model)
    assert found.packing == Packing(2, max_tokens=128)
    singles = rows((71, 53, 70), alone=(60, 71))
    examples = [*singles[:3], Example(singles[3].sequences + singles[4].sequences)]
    learning = with_full(model)
    sums = fast(Root(model, found.packing, found.head), None, examples, learning, 10_000)
    ours = gradient(learning)
    one_by_one(model, examples, learning)
    assert sums.num_streams == 3 and difference(ours, gradient(learning)) < TOLERANCE


def test_the_probe_leaves_the_model_as_it_was() -> None:
    model = family("Gemma3")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = model.config.to_dict()
    probe(model)
    assert model.config.to_dict() == settings and model.config._attn_implementation == "eager"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_large_model_is_probed_by_a_small_one_with_every_kind_of_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 20 million parameters: random weights, and the shortest beginning of the layers that holds every kind, here 3 of 6."""
    model = family("Gemma3", num_hidden_layers=6, layer_types=["sliding_attention"] * 2 + ["full_attention"] * 4)
    monkeypatch.setattr(probing, "SMALL", 1000)
    small = probing.probe_copy(model)
    assert small.config.layer_types == ["sliding_attention"] * 2 + ["full_attention"]
    assert not torch.equal(small.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight)
    assert probe(model).packing == Packing(1)
