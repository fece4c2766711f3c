"""The likeliest label is found exactly, whatever the search leaves out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luthier.batches.examples import Example, Lot
from luthier.batches.packing import Packing
from luthier.errors import DataError
from luthier.evaluate.choices import Answers, Choice, Node, choices
from luthier.evaluate.classify import Prediction, classify
from luthier.models.forward import Root
from luthier.models.load import load_model
from luthier.models.probe import probe
from luthier.models.roles import token_column
from luthier.spec.rows import Labeled, Origin
from luthier.testing import build_model
from luthier.text.renderer import Renderer
from luthier.text.sequence import Sequence

LABELS = ["card", "card_arrival", "card_lost", "pay", "payment_fee", "payment_failed", "transfer"]
TEXTS = ["Where is my card, which was to come by post last week?", "Why was I charged?", "It failed."]


def rows_of(texts: list[str], label: str = "card") -> list[Labeled]:
    return [Labeled(text, label, Origin("rows.csv", i)) for i, text in enumerate(texts, start=2)]


def alone(root: Root, choice: Choice) -> np.ndarray:
    """(L,): the log-probability of each label, each in a row of its own."""
    found = []
    for ids in choice.answers.ids:
        weights = np.concatenate([np.zeros(len(choice.prompt)), np.ones(len(ids))]).astype(np.float32)
        lot = Lot((Example((Sequence(np.concatenate([choice.prompt, np.array(ids)]), weights),)),))
        found.append(float(token_column(root, lot, 2048, lambda rows: root.score(rows.stream, None).logprobs).double().sum()))
    return np.array(found)


@pytest.fixture(scope="module")
def renderer(toy_folder: Path) -> Renderer:
    return Renderer.load(toy_folder)


@pytest.fixture(scope="module")
def root(toy_folder: Path) -> Root:
    model = load_model(toy_folder, torch.float32, torch.device("cpu"))
    found = probe(model)
    return Root(model, found.packing, found.head)


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_the_likeliest_label_is_that_of_scoring_each_alone(root: Root, renderer: Renderer, tier: int):
    asked = choices(rows_of(TEXTS), LABELS, renderer, None)
    scored = [alone(root, choice) for choice in asked]
    model = root.model
    predictions = classify(Root(model, Packing(tier), root.head), None, asked, token_budget=256)
    assert [p.answer for p in predictions] == [int(s.argmax()) for s in scored]
    assert [p.logprob for p in predictions] == pytest.approx([s.max() for s in scored], abs=1e-5)


def test_it_is_exact_where_the_head_is_the_models_own(root: Root, renderer: Renderer):
    """Without a head that was found by the probe, and with every segment in a forward of its own."""
    asked = choices(rows_of(TEXTS[1:]), LABELS, renderer, None)
    predictions = classify(Root(root.model, Packing(3), None), None, asked)
    assert [p.logprob for p in predictions] == pytest.approx([alone(root, choice).max() for choice in asked], abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_sure_model_is_searched_exactly_too(renderer: Renderer, seed: int):
    """Weights three times as large make probabilities near 0 and 1, so that most labels are never looked at."""
    model = build_model("llama", seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    found = probe(model)
    root = Root(model, found.packing, found.head)
    asked = choices(rows_of(TEXTS), LABELS, renderer, None)
    scored = [alone(root, choice) for choice in asked]
    predictions = classify(root, None, asked)
    assert [p.answer for p in predictions] == [int(s.argmax()) for s in scored]
    assert [p.logprob for p in predictions] == pytest.approx([s.max() for s in scored], rel=1e-5, abs=1e-5)


def leaves(node: Node) -> dict[int, tuple[int, ...]]:
    """Answer → its ids, as the tree says them."""
    found = {} if node.answer is None else {node.answer: node.path}
    for child in node.children:
        assert child.path[: len(node.path)] == node.path
        assert child.new == len(child.path) - len(node.path) > 0
        found |= leaves(child)
    return found


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), min_size=1, max_size=12, unique=True))
def test_the_tree_holds_every_answer_once(ids: list[tuple[int, ...]]):
    """Also answers that are the beginning of others, as where a template ends no answer."""
    root = Answers(tuple(ids)).root
    assert root.path == ()
    assert leaves(root) == dict(enumerate(ids))


def test_a_label_is_rendered_as_training_renders_it(renderer: Renderer):
    (choice,) = choices(rows_of(TEXTS[:1]), LABELS, renderer, None)
    text = renderer.tokenizer.decode(np.concatenate([choice.prompt, np.array(choice.answers.ids[1])]))
    assert "by post last week?" in text
    assert "card_arrival" in text
    assert choice.answers.ids[1][-1] in renderer.stops


def test_a_text_that_fills_the_context_is_named(renderer: Renderer):
    with pytest.raises(DataError, match=r"rows.csv:2: this text has \d+ tokens with its longest label; the model's context is 40"):
        choices(rows_of(TEXTS), LABELS, renderer, 40)


def test_progress_ends_with_all_rows(root: Root, renderer: Renderer):
    told: list[int] = []
    found = classify(root, None, choices(rows_of(TEXTS), LABELS, renderer, None), on_done=told.append)
    assert told[-1] == len(found) == 3
    assert all(isinstance(p, Prediction) and p.logprob < 0 for p in found)
