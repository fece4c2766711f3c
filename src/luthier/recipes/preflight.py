"""The preflight: what would be wrong with a run, found before its model is loaded. Part of every run, and `luthier check RUN.yaml`."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace

from luthier.engine.report import Progress, untold
from luthier.errors import DataError, ModelError, RunError, SettingsError, TemplateError, TrainingFailed, UserError
from luthier.methods.base import Method, Order, Roles
from luthier.models import load as models
from luthier.recipes.components import Parts, held_to, resolve
from luthier.recipes.examples import RunExamples, read_examples
from luthier.recipes.faults.learned import of_learned
from luthier.recipes.faults.rows import of_rows
from luthier.recipes.faults.settings import of_kinds, of_length, of_settings, of_type
from luthier.recipes.faults.template import of_template
from luthier.recipes.faults.weights import refuse_misfit
from luthier.recipes.judging import RunJudge
from luthier.spec.finding import Finding
from luthier.spec.run import RunSpec
from luthier.text.folder import DEFAULT_CONTEXT, context_length
from luthier.text.renderer import Renderer

CODES: tuple[tuple[type[UserError], str], ...] = (
    (SettingsError, "settings"),
    (DataError, "data"),
    (TemplateError, "template"),
    (ModelError, "model"),
    (RunError, "run-folder"),
)
"""What a refusal is called among findings; any other is `would-fail`."""

SHARED = "shared-rows"
"""The one error that may be meant."""


@dataclass(frozen=True, eq=False)
class Grounds:
    """What a run stands on before its model is loaded. `findings`: warnings and advice; errors were raised."""

    parts: Parts
    model_folder: Path
    renderer: Renderer
    config: Any
    examples: RunExamples
    findings: tuple[Finding, ...]
    judge: RunJudge | None = None


def preflight(spec: RunSpec) -> list[Finding]:
    """Everything that would be wrong with a run of these settings, the worst first. Reads all but the weights; keeps token ids."""
    found: list[Finding] = []
    try:
        checked = _Checked(spec, datetime.now().replace(microsecond=0))
        found += checked.before_rows()
        found = _accepted([*found, *of_rows(spec, checked.renderer)], spec)
        if all(finding.severity != "error" for finding in found):
            found += checked.of_examples(checked.examples(lambda _: None))
        models.check_weights(checked.model_folder)
    except UserError as error:
        code = next((code for kind, code in CODES if isinstance(error, kind)), "would-fail")
        found += [Finding("error", code, sentence) for sentence in str(error).splitlines() if not _said(sentence, found)]
    found = _accepted(found, spec)
    return sorted(found, key=lambda finding: ("error", "warning", "advice").index(finding.severity))


def lay_grounds(spec: RunSpec, started: datetime, say: Callable[[str], None], progress: Progress = untold) -> Grounds:
    """Load and check everything but the model.

    Args:
        started: the moment that templates with a date see. say: told what happens, and each warning. progress: of encoding.
    Raises:
        UserError: what would make the run fail, or wrong.
    """
    checked = _Checked(spec, started)
    before = list(checked.before_rows())
    refuse(before)
    examples = checked.examples(say, progress)
    found = _accepted([*before, *of_rows(spec, checked.renderer), *checked.of_examples(examples)], spec)
    for finding in found:
        if finding.severity == "warning":
            say(f"Warning: {finding.message} (`preflight.accept=[{finding.code}]` if it is meant)")
    refuse(found)
    return Grounds(checked.parts, checked.model_folder, checked.renderer, checked.config, examples, tuple(found), checked.judge)


def refuse(findings: Iterable[Finding]) -> None:
    """Raise `TrainingFailed` with every error among the findings, a line each."""
    if errors := [finding.message for finding in findings if finding.severity == "error"]:
        raise TrainingFailed("\n".join(errors))


class _Checked:
    """A run's settings, model folder and template, found and checked; rows are still to come."""

    def __init__(self, spec: RunSpec, started: datetime) -> None:
        """Raises `UserError` where one of them cannot be used."""
        self.spec = spec
        self.parts = resolve(spec)
        if not spec.data.train:
            raise SettingsError("`data.train` is empty. Give a file: `--data FILE`, or `data.train=FILE`.")
        self.model_folder = models.model_folder(spec.model)
        self.renderer = Renderer.load(self.model_folder, spec.model.chat_template, started, spec.model.template_arguments)
        self.config = models.load_config(self.model_folder)
        models.check_vocabulary(self.config, self.renderer.tokenizer.vocab_size, self.model_folder)
        refuse_misfit(self.parts.adapter, self.config)
        held_to(self.parts.method_config, self.renderer.tokenizer, self.config.get_text_config().vocab_size)
        self.judge = RunJudge(spec, self.renderer) if "judge" in self.parts.needs else None

    def before_rows(self) -> Iterator[Finding]:
        """What settings and template say by themselves."""
        return chain(of_settings(self.spec, self.parts), of_type(self.spec, self.config), of_template(self.renderer))

    def examples(self, say: Callable[[str], None], progress: Progress = untold) -> RunExamples:
        """The rows, encoded. Raises `UserError` where they cannot be learned from."""
        longest = max_length(self.spec, self.model_folder)
        if self.parts.method.learns == "prompts":
            longest = room_for_prompts(longest, self.parts.method_config)
        return read_examples(self.spec, self.parts.method, self.renderer, longest, say, progress, self.parts.learns)

    def of_examples(self, examples: RunExamples) -> Iterator[Finding]:
        """What is wrong with what is learned of the rows, and with settings beside so many of them."""
        kinds = (kind for part in (*examples.train_parts, *examples.validation_parts) for kind in part.file.kinds)
        yield from of_kinds(self.spec, kinds, self.parts)
        self._look(examples)
        said: set[str] = set()
        for part in (*examples.train_parts, *examples.validation_parts):
            for finding in of_learned(part.remarks(), part.num_rows, self.renderer.tokenizer.bos):
                if part in examples.train_parts or finding.code not in said:  # what a template does is not named twice
                    yield finding
                said.add(finding.code)
        if not self.parts.method.on_policy:  # there how many steps it takes is the method's affair
            yield from of_length(self.spec, self._num_steps(examples), self.config.get_text_config().num_hidden_layers)

    def _look(self, examples: RunExamples) -> None:
        """What the method itself says of its rows, as it will again when it learns from them."""
        if self.parts.method.look is Method.look:
            return
        nobody = Roles(cast(Any, None))
        self.parts.method(self.parts.method_config, nobody, Order(self.spec.train.batch_size, self.spec.train.seed)).look(examples.train)

    def _num_steps(self, examples: RunExamples) -> int:
        loop, weights = self.spec.train, [source.weight for source in self.spec.data.train]
        an_epoch = sum(len(part.examples) * weight for part, weight in zip(examples.train_parts, weights, strict=True))
        steps = math.ceil(an_epoch / loop.batch_size) * loop.epochs
        return steps if loop.max_steps is None else min(steps, loop.max_steps)


def max_length(spec: RunSpec, model_folder: Path) -> int:
    """Longest row in tokens.

    Raises:
        SettingsError: longer than the model's context.
    """
    context = context_length(model_folder)
    if spec.data.max_length is None:
        return context or DEFAULT_CONTEXT
    if context is not None and spec.data.max_length > context:
        raise SettingsError(f"`data.max_length` is {spec.data.max_length}, the model's context is {context}. Give at most that.")
    return spec.data.max_length


def room_for_prompts(longest: int, config: Any) -> int:
    """Longest prompt in tokens, so that an answer fits behind it.

    Raises:
        SettingsError: the answer alone fills the context.
    """
    answer = config.rollout.max_new_tokens if hasattr(config, "rollout") else 0
    if answer >= longest - 8:
        raise SettingsError(
            f"`method.rollout.max_new_tokens` is {answer}, and prompt and answer together may have {longest} tokens: no room is left for a "
            f"prompt. Lower it."
        )
    return longest - answer


def _accepted(found: Iterable[Finding], spec: RunSpec) -> list[Finding]:
    """Warnings that are meant become advice, and so do rows that are learned and measured on, where they are."""
    accept = spec.preflight.accept
    return [replace(f, severity="advice") if f.code in accept and (f.severity == "warning" or f.code == SHARED) else f for f in found]


def _said(sentence: str, found: Iterable[Finding]) -> bool:
    return any(sentence in finding.message for finding in found)
