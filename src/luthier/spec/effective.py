"""Settings that were given and would do nothing in this combination: each is refused, because whoever wrote it expects an effect."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from luthier.errors import SettingsError
from luthier.spec.faults import found_value
from luthier.spec.run import RunSpec


@dataclass(frozen=True)
class Ineffective:
    """`key` does nothing when `applies`. `reason` is the sentence that says why and what to do."""

    key: str
    applies: Callable[[RunSpec], bool]
    reason: str


def _is_folder(spec: RunSpec) -> bool:
    return spec.model.path == "starter" or Path(spec.model.path).is_dir()


def _no_validation(spec: RunSpec) -> bool:
    return not spec.data.validation and not spec.data.validation_share


RULES = (
    Ineffective("model.revision", _is_folder, "`model.path` is a folder, and only Hugging Face ids have revisions. Remove it."),
    Ineffective(
        "data.validation_share",
        lambda spec: bool(spec.data.validation),
        "`data.validation` names the rows to validate on, so none are set aside. Remove one of the two.",
    ),
    Ineffective(
        "optimizer.final_share",
        lambda spec: spec.optimizer.schedule == "constant",
        "`optimizer.schedule` is `constant`, so the rate never falls. Remove it, or use `cosine` or `linear`.",
    ),
    Ineffective(
        "evaluation.every",
        lambda spec: _no_validation(spec) and not spec.evaluation.prompts,
        "There is nothing to validate on and no prompt to answer. Give `data.validation`, `data.validation_share` or `evaluation.prompts`.",
    ),
    Ineffective(
        "evaluation.glance_every", _no_validation, "There is nothing to validate on. Give `data.validation` or `data.validation_share`."
    ),
    Ineffective(
        "evaluation.glance_rows", lambda spec: spec.evaluation.glance_every is None, "Give `evaluation.glance_every`, or remove it."
    ),
    Ineffective(
        "evaluation.patience", _no_validation, "There is nothing to validate on. Give `data.validation` or `data.validation_share`."
    ),
    Ineffective(
        "evaluation.max_new_tokens",
        lambda spec: not spec.evaluation.prompts,
        "`evaluation.prompts` is empty, so nothing is answered. Remove it, or give prompts.",
    ),
)

CHAT_RULES = (
    Ineffective("model.chat_template", lambda _: True, "This method learns from raw text, which no template touches. Remove it."),
    Ineffective("model.template_arguments", lambda _: True, "This method learns from raw text, which no template touches. Remove it."),
)
"""Added where the method learns from documents."""


def refuse_ineffective(spec: RunSpec, reads_conversations: bool = True) -> None:
    """Raise where a given setting does nothing. One that was given its default value passes: it says what happens anyway.

    Args:
        reads_conversations: whether the method learns from conversations; False where it learns from documents.
    Raises:
        SettingsError: one sentence for each such setting.
    """
    rules: Iterable[Ineffective] = RULES if reads_conversations else RULES + CHAT_RULES
    found = [*_by_rule(spec, rules), *_validation_weights(spec)]
    if found:
        raise SettingsError("\n".join(found))


def _by_rule(spec: RunSpec, rules: Iterable[Ineffective]) -> Iterator[str]:
    for rule in rules:
        group, name = rule.key.split(".")
        settings: BaseModel = getattr(spec, group)
        if (
            name in settings.model_fields_set
            and getattr(settings, name) != type(settings).model_fields[name].default
            and rule.applies(spec)
        ):
            yield f"`{rule.key}` is {found_value(getattr(settings, name))}, which has no effect: {rule.reason}"


def _validation_weights(spec: RunSpec) -> Iterator[str]:
    for i, source in enumerate(spec.data.validation):
        if source.weight != 1.0:
            yield (
                f"`data.validation[{i}].weight` is {source.weight:g}, which has no effect: each validation row counts once. "
                f"Weights mix `data.train`. Remove it."
            )
