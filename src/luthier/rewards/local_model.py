"""A model folder opened to judge or to embed: the judge behind `score_model` and `label_model`, the embedding behind `cosine`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from luthier.batches.answers import Answer
from luthier.batches.example import Example
from luthier.batches.streams import build_stream
from luthier.errors import SettingsError, TemplateError
from luthier.graders.judge import Question, Reply
from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.constraint import Grammars
from luthier.models.draw import DrawRules
from luthier.models.forward import Root
from luthier.models.probe import probe
from luthier.models.requests import Request
from luthier.models.sample import TOKEN_BUDGET, sample_all
from luthier.spec.rows import Message
from luthier.spec.run import ModelSpec
from luthier.text.renderer import Renderer
from luthier.text.sequence import Sequence as Tokens

LONGEST_JUDGEMENT = 512
"""In tokens, where the grader says nothing else."""

MOST_ITEMS = 2
"""Of a list in a judgement, such as its steps: a weak model that may go on, does, and never comes to the result."""

CLOSE = {"x-guidance": {"whitespace_pattern": " ?"}}
"""Between the parts of a judgement stands a space, or nothing."""

FINEST, LARGEST = 0.001, 1e6
"""Numbers in a judgement are multiples of the one and no larger than the other, for the same reason."""


@dataclass(frozen=True, eq=False)
class LocalModel:
    """A model with its renderer. `context`: how many tokens it can read; None where its config does not say."""

    name: str
    root: Root
    renderer: Renderer
    context: int | None

    @classmethod
    def load(cls, name: str) -> "LocalModel":
        """A folder in Hugging Face format, a Hugging Face id, or `starter`.

        Raises:
            ModelError: it cannot be loaded. TemplateError: its template cannot be used.
        """
        folder = models.model_folder(ModelSpec(path=name))
        renderer = Renderer.load(folder)
        model = models.load_model(folder, models.stored_dtype(folder), devices.default_device())
        models.check_vocabulary(model.config, renderer.tokenizer.vocab_size, folder)
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        probed = probe(model)
        return cls(name, Root(model.requires_grad_(False), probed.packing, probed.head), renderer, context)


@dataclass(frozen=True, eq=False)
class LocalJudge:
    """Answers questions with a local model, greedily where nothing else is said.

    They are held to the question's JSON schema, where llguidance is installed. Else it is asked for in words alone, and what a small model
    writes may be no JSON, which then is that grading's failure; `note` says so.
    """

    model: LocalModel

    def __post_init__(self) -> None:
        if not self.model.renderer.template_sources:
            raise SettingsError(f"{self.model.name} has no chat template, so it cannot be told what to judge. Take a model that chats.")

    @property
    def note(self) -> str | None:
        """Why its answers cannot be held to a schema."""
        return self._grammars if isinstance(self._grammars, str) else None

    @cached_property
    def _grammars(self) -> Grammars | str:
        try:
            return Grammars(self.model.renderer.tokenizer, self.model.root.output.weight.shape[0])
        except SettingsError as error:
            return f"{self.model.name} is asked for JSON in words alone. {error}"

    def __call__(self, questions: Sequence[Question]) -> list[Reply]:
        asked = [self._request(question) for question in questions]
        requests = [request for request in asked if isinstance(request, Request)]
        longest = max((len(request.prompt) + request.max_new_tokens for request in requests), default=0)
        drawn = iter(sample_all(self.model.root, requests, token_budget=max(TOKEN_BUDGET, longest)))
        return [request if isinstance(request, Reply) else self._reply(request, next(drawn)) for request in asked]

    def _request(self, question: Question) -> Request | Reply:
        """What to draw; or why the model cannot be asked this."""
        renderer, context, sampling = self.model.renderer, self.model.context, question.sampling
        try:
            prompt = self._prompt(_messages(question))
        except (TemplateError, _NotText) as error:
            return Reply(fault=f"{self.model.name} cannot be told this: {str(error).rstrip('.')}")
        limit = sampling.max_completions_tokens or LONGEST_JUDGEMENT
        limit = limit if context is None else min(limit, context - len(prompt))
        if limit < 1:
            return Reply(fault=f"what it is told has {len(prompt):,} tokens, and the context of {self.model.name} is {context:,}")
        rules = DrawRules(temperature=sampling.temperature or 0.0, top_p=1.0 if sampling.top_p is None else sampling.top_p)
        mask = None if isinstance(self._grammars, str) else self._grammars.json_schema({**bounded(question.schema, limit), **CLOSE})
        return Request(prompt, limit, rules, address=(sampling.seed or 0,), stop_ids=renderer.stops, mask=mask)

    def _prompt(self, messages: list[Message]) -> np.ndarray:
        """(n,) ids. What the system says begins the first question where the template has no place for it."""
        try:
            return self.model.renderer.prompt_ids(messages)
        except TemplateError:
            system, *others = messages
            if system.role != "system":
                raise
            first = Message(others[0].role, f"{system.content}\n\n{others[0].content}")
            return self.model.renderer.prompt_ids([first, *others[1:]])

    def _reply(self, request: Request, answer: Answer) -> Reply:
        text = self.model.renderer.tokenizer.decode(answer.ids, skip_special=True)
        return Reply(text, tokens=len(request.prompt) + len(answer.ids), model=self.model.name)


def bounded(schema: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """A schema that can be filled within a number of tokens, half of which its texts may take: short lists, short texts, short numbers."""
    found = {key: _bounded(value, limit) for key, value in schema.items()}
    match found.get("type"):
        case "array":
            return {"maxItems": MOST_ITEMS, **found}
        case "string" if "enum" not in found:
            return {"maxLength": max(8, limit // (4 * MOST_ITEMS)), **found}
        case "number":
            return {"multipleOf": FINEST, "minimum": -LARGEST, "maximum": LARGEST, **found}
    return found


def _bounded(value: Any, limit: int) -> Any:
    return bounded(value, limit) if isinstance(value, Mapping) else value


class _NotText(Exception):
    """A picture or a recording, which a text model cannot be told."""


def _messages(question: Question) -> list[Message]:
    """The last instruction joins the system's first message: many templates allow no other."""
    told: list[dict[str, Any]] = [dict(message) for message in question.messages]
    for message in told:
        message["role"] = {"developer": "system"}.get(message["role"], message["role"])
        if not isinstance(message["content"], str):
            raise _NotText("it has parts that are not text")
    system = "\n\n".join(message["content"] for message in told if message["role"] == "system")
    others = [Message(message["role"], message["content"]) for message in told if message["role"] != "system"]
    return [Message("system", system), *others] if others else [Message("user", system)]


@dataclass(frozen=True, eq=False)
class MeanPooled:
    """Texts → (n, d): the mean of the last hidden states over a text's tokens, those of the context's length at most."""

    model: LocalModel

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> np.ndarray:
        ids = self.model.renderer.tokenizer.encode(text or " ")[: self.model.context]
        return pooled(self.model.root, np.asarray(ids, dtype=np.int64))


@torch.no_grad()
def pooled(root: Root, ids: np.ndarray) -> np.ndarray:
    """(d,): the mean of the base's last hidden states over `ids` (n,); zeros where there are none."""
    if not len(ids):
        return np.zeros(int(root.output.weight.shape[1]))
    stream = build_stream([Example((Tokens(ids, np.zeros(len(ids), dtype=np.float32)),))], root.packing)
    mean: np.ndarray = root.hidden(stream.to(root.device), None).double().mean(0).cpu().numpy()
    return mean
