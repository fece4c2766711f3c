"""What a method makes of a row's tokens, by its name and settings: read from `schema.json`, so that nothing heavy is loaded."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from luthier.errors import SettingsError
from luthier.spec import folder as registry
from luthier.spec.base import Component
from luthier.spec.nearest import did_you_mean
from luthier.spec.schema import component_settings, stored
from luthier.text.sequence import Sequence

Scored = Literal["answers", "everything", "prompts", "prompts and answers", "ends"]
"""`ends`: one number is read at the last token of each answer, and nothing is learned of the others."""


@dataclass(frozen=True)
class Learning:
    """`scored`: which tokens; `prompt_weight`: how much the others count. `rows`: kinds of row that the method takes; empty
    where none was named. `note`: a sentence on what is not seen in the row."""

    scored: Scored = "answers"
    prompt_weight: float = 0.0
    method: str = ""
    rows: tuple[str, ...] = ()
    note: str = ""

    def of(self, sequence: Sequence) -> Sequence:
        """The same tokens with the weights that they have for the method. `weights` are those of answers."""
        if self.scored == "ends":
            weights = np.zeros_like(sequence.weights)
            weights[-1:] = 1
        elif self.scored == "everything":
            weights = np.ones_like(sequence.weights)
        elif self.prompt_weight:
            weights = np.where(sequence.weights == 0, np.float32(self.prompt_weight), sequence.weights)
        else:
            return sequence
        weights[:1] = 0  # nothing precedes it
        return replace(sequence, weights=weights)


def learning_of(method: Component) -> Learning:
    """Of a method with its settings.

    Raises:
        SettingsError: no such method, one of the user's own, or a setting that it does not have.
    """
    if registry.is_path(method.name):
        raise SettingsError(f"{method.name} would have to be run to know what it learns. Leave `method` out to see the rows' answers.")
    known = stored()["methods"]
    if method.name not in known:
        raise SettingsError(f"`method`: there is no `{method.name}`.{did_you_mean(method.name, known)}")
    settings = component_settings("method", method.name)
    for key in method.settings:
        if f"method.{key}" not in settings:
            names = [name.removeprefix("method.") for name in settings]
            raise SettingsError(f"`{method.name}` has no setting `method.{key}`.{did_you_mean(key, names)}")
    facts = known[method.name]
    scored: Scored = facts["learns"]
    if "scorer" in facts["needs"]:
        scored = "ends"
    elif method.settings.get("ptx"):
        scored = "prompts and answers"
    return Learning(scored, _prompt_weight(method), method.name, tuple(facts["rows"]), _note(method.name, scored))


def _prompt_weight(method: Component) -> float:
    weight = method.settings.get("prompt_weight", 0.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise SettingsError(f"`method.prompt_weight` is {weight!r}. It must be a number, at least 0 and at most 1.")
    return float(weight)


def _note(name: str, scored: Scored) -> str:
    match scored:
        case "ends":
            return f"`{name}` reads one number at the last token of each answer; the others are only read."
        case "prompts":
            return f"`{name}` learns from the answers that the policy draws to this prompt."
        case "prompts and answers":
            return f"`{name}` learns from the answers that the policy draws to this prompt, and imitates the row's own beside them (`ptx`)."
    return ""
