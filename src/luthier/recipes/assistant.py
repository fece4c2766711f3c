"""`Assistant`: a run or a model opened for use, with the template, tokenizer and type of computation it was trained with."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from luthier.adapters import lora
from luthier.batches.packing import Packing
from luthier.engine import checkpoint
from luthier.engine.folder import RunFolder
from luthier.engine.setup import POLICY
from luthier.errors import ModelError, RunError, SettingsError, UserError
from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.draw import DrawRules
from luthier.models.forward import Root
from luthier.models.probe import Probed, position_regimes, probe
from luthier.models.requests import Request
from luthier.models.sample import Sampler
from luthier.recipes.describe import fingerprint
from luthier.recipes.writing import Writing
from luthier.serve.opened import dtype_of, raw_ids, rooted
from luthier.spec import folder as registry
from luthier.spec.load import load_run
from luthier.spec.nearest import did_you_mean
from luthier.spec.paths import shown
from luthier.spec.rows import Message
from luthier.spec.run import ModelSpec, RunSpec
from luthier.text.folder import context_length
from luthier.text.renderer import Renderer

KEPT_TOKENS = 16_384
"""Of earlier prompts and answers, for later ones that begin alike, such as the next turn of a conversation."""


Tools = Sequence[dict[str, Any]]
Tell = Callable[[str], None] | None


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn: `temperature` 0 takes the likeliest token; `top_p` draws only from those that hold this share."""

    temperature: float = 0.7
    top_p: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {"max_new_tokens": (self.max_new_tokens >= 1, "at least 1"), "seed": (self.seed >= 0, "0 or above")}
        for name, (holds, wanted) in checks.items():
            if not holds:
                raise SettingsError(f"`{name}` is {getattr(self, name)}; it must be {wanted}.")
        if self.rules.temperature == 0 and self.top_p < 1:
            raise SettingsError("`top_p` has no effect at temperature 0, which always takes the likeliest token. Leave one of them out.")

    @property
    def rules(self) -> DrawRules:
        return DrawRules(self.temperature, self.top_p)


@dataclass(frozen=True)
class Answer:
    """`num_tokens`: those drawn, the stop token among them. `finished`: it ended by itself, not at the limit."""

    text: str
    num_tokens: int
    finished: bool


@dataclass(frozen=True, eq=False)
class Assistant:
    """Answers. `adapter`: the routing of its forwards; None for the base, or for a model that was tuned whole."""

    name: str
    root: Root
    adapter: str | None
    renderer: Renderer
    context: int | None
    notes: tuple[str, ...] = ()
    """What a person should know before using it."""
    sampler: Sampler = field(init=False)
    writing: dict[int, Writing] = field(init=False, default_factory=dict)
    """Answers under way, by the sampler's number."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampler", Sampler(self.root, self.renderer.tokenizer.stream, kept_tokens=KEPT_TOKENS))

    @property
    def converses(self) -> bool:
        """It has a chat template; otherwise it goes on with raw text."""
        return bool(self.renderer.template_sources)

    def prompt_ids(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> np.ndarray:
        """(n,): what the model is fed before it answers; without a chat template the last message as raw text."""
        return self.renderer.prompt_ids(messages, tools) if self.converses else raw_ids(self.renderer, messages[-1].content)

    def answer(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        address: tuple[int, ...] = (),
        tools: Tools = (),
        on_text: Tell = None,
    ) -> Answer:
        """Draw the assistant's next message.

        Args:
            address: which answer this is; the same address draws the same answer. on_text: called with each stretch of text as it comes.
        Raises:
            SettingsError: the conversation fills the context. TemplateError: the template refuses it.
        """
        writing = self._submit(messages, sampling, address, tools, on_text)
        try:
            while writing.end is None:
                self._step()
        finally:
            self._forget(writing)
        return _answer(writing)

    def answers(self, asked: Iterable[tuple[Sequence[Message], Tools]], sampling: Sampling, first: int = 0) -> Iterator[Answer]:
        """The next message of many conversations, each given with its tools, drawn together and handed on in order.

        Conversation i has the address (first + i,), so its answer is the one that `answer` draws there.

        Raises:
            SettingsError, TemplateError: as `answer`, after the answers to the conversations before it.
        """
        conversations = enumerate(asked, start=first)
        order: deque[Writing] = deque()
        refusal: UserError | None = None
        try:
            while True:
                while refusal is None and len(order) < 2 * self.sampler.max_sequences:
                    number, conversation = next(conversations, (0, None))
                    if conversation is None:
                        break
                    try:
                        order.append(self._submit(conversation[0], sampling, (number,), conversation[1], None))
                    except UserError as error:
                        refusal = error
                while order and order[0].end is not None:
                    done = order.popleft()
                    self._forget(done)
                    yield _answer(done)
                if not order:
                    break
                self._step()
        finally:
            for left in order:
                self._forget(left)
        if refusal is not None:
            raise refusal

    def _step(self) -> None:
        for event in self.sampler.step():
            self.writing[event.request].take(event)

    def _forget(self, writing: Writing) -> None:
        """It is done, or somebody broke off."""
        self.sampler.cancel(writing.number)
        del self.writing[writing.number]

    def _submit(self, messages: Sequence[Message], sampling: Sampling, address: tuple[int, ...], tools: Tools, on_text: Tell) -> Writing:
        prompt = self.prompt_ids(messages, tools)
        limit = sampling.max_new_tokens
        if self.context is not None:
            limit = min(limit, self.context - len(prompt))
        if limit < 1:
            raise SettingsError(f"This has {len(prompt):,} tokens and the model's context is {self.context:,}: there is no room to answer.")
        request = Request(prompt, limit, sampling.rules, self.adapter, (sampling.seed, *address), self.renderer.stops)
        writing = Writing(self.sampler.submit(request), self.converses, on_text)
        self.writing[writing.number] = writing
        return writing


def _answer(writing: Writing) -> Answer:
    return Answer(writing.text, writing.num_tokens, writing.end == "stop")


def open_assistant(name: str, base: bool = False, say: Callable[[str], None] = lambda _: None, packed: bool = False) -> Assistant:
    """Open what a person names: a run's folder, a model folder, a Hugging Face id, or `starter`.

    Args:
        base: the run's base model, as it was before tuning. packed: find out how rows may be packed, for scoring or drawing many of them.
    Raises:
        RunError: no such thing, or a run that cannot be used: it is not far enough, or its base or template is another one by now.
        ModelError: a model that cannot be loaded.
    """
    path = Path(name).expanduser()
    if (path / "run.yaml").is_file():
        return open_run(path, base, say, packed)
    if base:
        raise SettingsError(f"`--base` is for a run; {name} is none, so there is no base to go back to. Leave it out.")
    if (path / "adapter_config.json").is_file():
        raise RunError(f"{path} is an adapter, which says nothing about template and base. Give the run's folder: {path.parent}.")
    if not path.exists() and path.parent != Path() and path.parent.is_dir():
        raise RunError(f"There is no run or model {name}.{did_you_mean(path.name, [p.name for p in path.parent.iterdir() if p.is_dir()])}")
    folder = models.model_folder(ModelSpec(path=name))
    config = models.load_config(folder)
    device = devices.default_device()
    dtype = dtype_of(folder, config, device)
    renderer = Renderer.load(folder)
    say(f"Loading {name} in {_named(dtype)}")
    model = models.load_model(folder, dtype, device)
    return _assistant(name, model, None, renderer, folder, _probed(model, packed))


def open_run(path: Path, base: bool = False, say: Callable[[str], None] = lambda _: None, packed: bool = False) -> Assistant:
    """A run's result, or the newest weights of one that did not finish."""
    folder = RunFolder(path)
    if not folder.record_file.is_file():
        raise RunError(
            f"{path} is training now. Wait until it is done."
            if folder.is_locked
            else f"{path} did not come to its end. Go on with it first: luthier resume {path}"
        )
    spec, record = load_run(str(folder.run_file)), folder.read_record()
    base_folder = checked_base(path, spec, record)
    whole = registry.load("luthier.adapters", spec.adapter.name).WHOLE_MODEL
    done = record["status"] == "succeeded"
    if not base and spec.method.name == "reward_model":
        raise SettingsError(
            f"{path} is a reward model: it scores answers and writes none. Use it as `reward: {{name: reward_model, path: {path}}}`, or "
            f"ask the model that it was made from, with `--base`."
        )
    own_model = folder.model if whole and done and not base else None
    renderer = checked_renderer(path, spec, record, own_model or base_folder, own_model is not None)
    dtype, device = getattr(torch, record["dtype"]["chosen"]), devices.default_device()
    say(f"Loading {shown(spec.model.path)} in {_named(dtype)}")
    model = models.load_model(own_model or base_folder, dtype, device)
    probed = _probed(model, packed)  # before there is an adapter on it
    if base:
        return _assistant(f"{shown(spec.model.path)}, the base of {path}", model, None, renderer, base_folder, probed)
    notes: tuple[str, ...] = ()
    weights = folder.adapter
    if not done:
        weights = newest_weights(folder, record)
        notes = (f"This run is {record['status']}: its weights are those of step {int(weights.name[5:])}.",)
    load_weights(model, weights, whole, own_model is None)
    name = f"{path}, {shown(spec.method.name)} with {shown(spec.adapter.name)} on {shown(spec.model.path)}"
    return _assistant(name, model, None if whole else POLICY, renderer, base_folder, probed, notes)


def checked_base(path: Path, spec: RunSpec, record: dict[str, Any]) -> Path:
    """The folder of the model that a run was tuned from.

    Raises:
        RunError: its files are other ones by now. ModelError: it is gone.
    """
    folder = models.model_folder(spec.model)
    if fingerprint(folder) != record["model"]["fingerprint"]:
        raise RunError(f"{spec.model.path} is not the base model that {path} was tuned from: its files differ. Put the right one there.")
    return folder


def checked_renderer(path: Path, spec: RunSpec, record: dict[str, Any], folder: Path, saved: bool) -> Renderer:
    """The renderer the run was trained with.

    Args:
        folder: of the model. saved: it is the run's own, which holds its template.
    Raises:
        RunError: template or tokenizer are other ones by now.
    """
    own = (None, None) if saved else (spec.model.chat_template, spec.model.template_arguments)  # a saved template holds its arguments
    renderer = Renderer.load(folder, own[0], arguments=own[1])
    if renderer.fingerprint != record["renderer"]:
        template = spec.model.chat_template
        what = template if template not in (None, "plain") and not saved else f"tokenizer or chat template of {folder}"
        raise RunError(
            f"{path} was trained with another template than it would be asked with now: {what} changed since. Answers would be worse "
            f"without a sign of it, so this is refused. Put the file back as it was."
        )
    return renderer


def newest_weights(folder: RunFolder, record: dict[str, Any]) -> Path:
    """The newest checkpoint that is whole.

    Raises:
        RunError: there is none.
    """
    for step in reversed(checkpoint.steps_kept(folder)):
        if checkpoint.find_damage(path := checkpoint.path_of(folder, step)) is None:
            return path
    raise RunError(f"{folder.path} is {record['status']} and has no checkpoint, so there are no weights to use.")


def load_weights(model: PreTrainedModel, weights: Path, whole: bool, on_base: bool) -> None:
    """What a run learned, into its base: an adapter, or a checkpoint of the model's own weights.

    Raises:
        ModelError: missing, damaged, or of another model.
    """
    try:
        if not whole:
            lora.load(model, POLICY, weights, model.get_output_embeddings())
        elif on_base:
            parameters = dict(model.named_parameters())
            for name, value in load_file(weights / registry.load("luthier.adapters", "full").WEIGHTS).items():
                parameters[name].data.copy_(value)
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise ModelError(f"{weights} is damaged or incomplete ({error}). `luthier verify` says what differs.") from error


def _assistant(
    name: str,
    model: PreTrainedModel,
    adapter: str | None,
    renderer: Renderer,
    folder: Path,
    probed: Probed,
    notes: tuple[str, ...] = (),
) -> Assistant:
    return Assistant(name, rooted(model, renderer, folder, probed), adapter, renderer, context_length(folder), notes)


def _probed(model: PreTrainedModel, packed: bool) -> Probed:
    """Single answers are drawn with the model's own attention, and need not know how rows may be packed."""
    return probe(model) if packed else Probed(Packing(3, *position_regimes(model.config)), None, "not probed")


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
