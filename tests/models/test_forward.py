"""The root module: log-probabilities as the model's own logits give them, scalar heads, and the routing of adapters."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.models.families import clear, difference, family, gradient, rows, with_lora
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.adapters.routing import Routing, current, routed
from luthier.batches.packing import Packing
from luthier.batches.streams import Stream, build_stream
from luthier.losses.logprobs import HeadSpec, Scores
from luthier.models import forward
from luthier.models.forward import Root, attention_of
from luthier.models.probe import detect_head, probe

HEADS: dict[str, tuple[str, dict[str, Any], HeadSpec]] = {
    "plain": ("Llama", {}, HeadSpec()),
    "tied": ("Qwen2", {}, HeadSpec()),
    "scale": ("Granite", {}, HeadSpec(scale=0.25)),
    "cap": ("Gemma2", {}, HeadSpec(softcap=3.0)),
    "multiplier": ("Falcon-H1", {"lm_head_multiplier": 0.5}, HeadSpec(scale=0.5)),
}


def _own_scores(model: PreTrainedModel, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability, entropy and whether it is the likeliest, of each scored token, from the model's own logits."""
    logprobs, entropies, correct = [], [], []
    for example in rows():
        s = example.sequences[0]
        logp = (model(input_ids=torch.from_numpy(s.ids)[None], use_cache=False).logits[0] / temperature).log_softmax(-1)
        for t in s.weights.nonzero()[0]:
            logprobs.append(logp[t - 1, s.ids[t]])
            entropies.append(-(logp[t - 1].exp() * logp[t - 1]).sum())
            correct.append(logp[t - 1].argmax() == s.ids[t])
    return torch.stack(logprobs), torch.stack(entropies), torch.stack(correct)


def _assert_equal(scores: Scores, expected: tuple[Tensor, Tensor, Tensor]) -> None:
    assert scores.entropy is not None and scores.correct is not None
    torch.testing.assert_close(scores.logprobs, expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores.entropy, expected[1], rtol=1e-5, atol=1e-5)
    assert torch.equal(scores.correct, expected[2])


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("kind", HEADS)
def test_scores_are_those_of_the_models_own_logits(kind: str, temperature: float) -> None:
    name, settings, head = HEADS[kind]
    model = family(name, **settings)
    found = probe(model)
    assert found.head == head
    root = Root(model, found.packing, found.head)
    scores = root.score(build_stream(rows(), root.packing), None, temperature, entropy=True, correct=True)
    _assert_equal(scores, _own_scores(model, temperature))


@torch.no_grad()
def test_a_head_with_a_bias() -> None:
    model = family("Llama")
    model.lm_head = nn.Linear(32, 97, bias=True)
    nn.init.normal_(model.lm_head.bias)
    root = Root(model, Packing(1), HeadSpec())
    _assert_equal(root.score(build_stream(rows()), None, entropy=True, correct=True), _own_scores(model))


class _Squared(nn.Linear):
    """A head that no scale and no cap expresses."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).square() / 4


@torch.no_grad()
@pytest.mark.parametrize("packing", [Packing(1), Packing(3)], ids=["one stream", "one row a forward"])
def test_an_unknown_head_is_asked_for_its_own_logits(packing: Packing) -> None:
    model = family("Llama")
    model.lm_head = _Squared(32, 97, bias=False)
    assert detect_head(model, rows()[0].sequences[0].ids) is None
    root = Root(model, packing, None)
    scores = root.score(build_stream(rows(), packing), None, 0.7, entropy=True, correct=True)
    _assert_equal(scores, _own_scores(model, 0.7))


@torch.no_grad()
def test_a_scalar_head_reads_where_tokens_are_predicted_and_at_each_end() -> None:
    model, stream = family("Qwen3"), build_stream(rows())
    root = Root(model, Packing(1), HeadSpec())
    layer = root.add_scalar_head("critic", torch.Generator().manual_seed(0))
    nn.init.constant_(layer.bias, 0.3)
    values, ends = root.values(stream, None, "critic")
    expected, expected_ends = [], []
    for example in rows():
        s = example.sequences[0]
        hidden = model.model(input_ids=torch.from_numpy(s.ids)[None], use_cache=False).last_hidden_state[0]
        v = hidden @ layer.weight[0] + 0.3
        expected += [v[t - 1] for t in s.weights.nonzero()[0]]
        expected_ends.append(v[-1])
    torch.testing.assert_close(values, torch.stack(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ends, torch.stack(expected_ends), rtol=1e-4, atol=1e-5)


def _actor_critic() -> tuple[Root, dict[str, nn.Parameter]]:
    """One base that plays policy and critic: two adapters and a scalar head."""
    model = family("Qwen3")
    learning = {f"policy.{k}": p for k, p in with_lora(model, "policy", seed=1).items()}
    learning |= {f"critic.{k}": p for k, p in with_lora(model, "critic", seed=2).items()}
    root = Root(model, Packing(1), HeadSpec())
    learning |= {f"head.{k}": p for k, p in root.add_scalar_head("critic", torch.Generator().manual_seed(0)).named_parameters()}
    return root, learning


def _step(root: Root, learning: dict[str, nn.Parameter], stream: Stream) -> dict[str, Tensor]:
    """Both forwards, then one backward."""
    clear(learning)
    loss = -root.score(stream, "policy").logprobs.mean()
    values, ends = root.values(stream, "critic", "critic")
    loss = loss + (values - 1).square().mean() + ends.mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return gradient(learning)


def test_checkpointing_changes_nothing_with_two_adapters_in_one_backward() -> None:
    root, learning = _actor_critic()
    stream = build_stream(rows())
    off = _step(root, learning, stream)
    assert all(g.norm() > 0 for g in off.values())
    root.enable_checkpointing()
    root.model.train()
    assert difference(_step(root, learning, stream), off) < 1e-6
    assert current().whole is None


@contextmanager
def _attention_only(model: PreTrainedModel, name: str) -> Iterator[None]:
    with attention_of(model, name):
        yield


def test_a_recomputation_without_its_routing_would_be_wrong_and_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why checkpointing gets contexts: recomputed under whatever adapter is current, here none, nothing fails, and gradients are wrong."""

    def forgetful(model: PreTrainedModel) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _attention_only(model, model.config._attn_implementation)

    root, learning = _actor_critic()
    stream = build_stream(rows())
    off = _step(root, learning, stream)
    monkeypatch.setattr(forward, "checkpoint_contexts", forgetful)
    root.enable_checkpointing()
    root.model.train()
    with routed(Routing("critic")):  # as a module-wide `set_adapter("critic")` would leave it
        wrong = _step(root, learning, stream)
    assert difference(wrong, off) > 0.1


def test_checkpointing_recomputes_with_the_attention_of_the_forward() -> None:
    """The backward pass runs when the forward has long given the model its own attention function back."""
    root, _ = _actor_critic()
    root.enable_checkpointing()
    root.model.train()
    loss = root.score(build_stream(rows()), "policy").logprobs.sum()
    assert root.model.config._attn_implementation == "eager"
    loss.backward()  # type: ignore[no-untyped-call]
    assert root.model.config._attn_implementation == "eager"


def test_checkpointing_recomputes_the_same_dropout() -> None:
    model = family("Llama", attention_dropout=0.3)
    learning = with_lora(model, dropout=0.3)
    root = Root(model.train(), Packing(1), HeadSpec())
    stream, found = build_stream(rows()), []
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            clear(learning)
            torch.manual_seed(0)
            root.score(stream, "policy").logprobs.sum().backward()  # type: ignore[no-untyped-call]
            found.append(gradient(learning))
            root.enable_checkpointing()
        other = root.score(stream, "policy").logprobs.detach()  # the generator has gone on
        torch.manual_seed(0)
        assert float((root.score(stream, "policy").logprobs.detach() - other).norm()) > 0.1, "dropout is on"
    assert difference(found[1], found[0]) < 1e-6


@torch.no_grad()
def test_adapters_route_a_forward() -> None:
    """None is the base alone, and one adapter does not feel that another is there."""
    model, stream = family("Qwen3"), build_stream(rows())
    root = Root(model, Packing(1), HeadSpec())
    base = root.score(stream, None).logprobs
    with_lora(model, "policy", seed=1)
    policy = root.score(stream, "policy").logprobs
    with_lora(model, "critic", seed=2)
    assert torch.equal(root.score(stream, None).logprobs, base)
    assert torch.equal(root.score(stream, "policy").logprobs, policy)
    assert float((root.score(stream, "critic").logprobs - policy).norm()) > 0.1
    assert float((policy - base).norm()) > 0.1


@pytest.mark.parametrize("tier", [1, 3])
def test_segments_of_one_stream_may_have_adapters_of_their_own(tier: int) -> None:
    """Three rows under policy, critic and base at once: values and gradients of each alone."""
    model = family("Qwen3")
    learning = {f"{name}.{k}": p for name, seed in (("policy", 1), ("critic", 2)) for k, p in with_lora(model, name, seed=seed).items()}
    root = Root(model, Packing(tier), HeadSpec())
    examples = rows((71,), alone=(60, 33))
    adapters = ("policy", "critic", None)
    expected = torch.cat([root.score(build_stream([e], root.packing), a).logprobs for e, a in zip(examples, adapters, strict=True)])
    expected.sum().backward()  # type: ignore[no-untyped-call]
    alone = gradient(learning)

    stream = build_stream(examples, root.packing)
    of_length = {71: "policy", 60: "critic", 33: None}
    stream = replace(stream, segments=tuple(replace(s, adapter=of_length[s.length]) for s in stream.segments))
    clear(learning)
    together = root.score(stream, None).logprobs
    together.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(together, expected, rtol=1e-5, atol=1e-5)
    assert difference(gradient(learning), alone) < 1e-5


def test_a_segment_without_an_adapter_has_the_one_of_the_forward() -> None:
    root, _ = _actor_critic()
    stream = build_stream(rows((71,), alone=(60,)))
    marked = replace(stream, segments=tuple(replace(s, adapter="critic" if s.length == 60 else None) for s in stream.segments))
    policy, critic, both = (root.score(s, a).logprobs for s, a in ((stream, "policy"), (stream, "critic"), (marked, "policy")))
    first = stream.token_row == 0
    torch.testing.assert_close(both, torch.where(first, policy, critic), rtol=1e-5, atol=1e-5)
