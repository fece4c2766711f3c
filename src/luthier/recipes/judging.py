"""What a run's answers are judged by: its `reward`, and the `check` beside it."""

from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from luthier.batches.answers import Answer
from luthier.batches.examples import Example
from luthier.errors import SettingsError
from luthier.methods.base import Rewards
from luthier.models.forward import Root
from luthier.recipes.describe import fingerprint
from luthier.rewards.base import Judged, Reward
from luthier.rewards.load import reward
from luthier.rewards.reward_model import RewardModel
from luthier.rewards.scored import scores_of
from luthier.spec.base import Component
from luthier.spec.rows import Message
from luthier.spec.run import RewardSource, RunSpec
from luthier.text.renderer import Renderer


class RunJudge:
    """Judges answers by the weighted sum of a run's rewards.

    Every reward is opened when the judge is made, so that what is wrong with one is said before the model is loaded.
    """

    def __init__(self, spec: RunSpec, renderer: Renderer) -> None:
        """Raises `SettingsError` where a reward cannot be used, or is a reward model that reads text another way."""
        self.renderer = renderer
        self.sources = spec.reward
        self.rewards = [reward(component_of(source), f"reward[{i}]") for i, source in enumerate(spec.reward)]
        self.check_source = spec.check
        self.check: Reward[Any] | None = reward(component_of(spec.check), "check") if spec.check else None
        self.shared: list[RewardModel] = []
        for found in self._models:
            found.refuse_other(renderer.fingerprint)

    @property
    def _models(self) -> list[RewardModel]:
        return [found for found in (*self.rewards, self.check) if isinstance(found, RewardModel)]

    @property
    def checks(self) -> bool:
        return self.check is not None

    def on(self, root: Root, model_folder: Path, frozen_base: bool) -> None:
        """Let a reward model that was tuned from the run's own base share it. `frozen_base`: it stays as it is."""
        for found in self._models:
            if found.is_adapter and frozen_base and not self.shared and found.belongs_to(fingerprint(model_folder)):
                found.share(root)
                self.shared.append(found)

    def judge(self, examples: Seq[Example], answers: Seq[Answer]) -> Rewards:
        judged = [self._judged(example, answer) for example, answer in zip(examples, answers, strict=True)]
        parts = {
            self._name(i): torch.from_numpy(scores_of(found, judged, source.name, source.time_limit_s))
            for i, (source, found) in enumerate(zip(self.sources, self.rewards, strict=True))
        }
        total = sum(source.weight * part for source, part in zip(self.sources, parts.values(), strict=True))
        assert isinstance(total, torch.Tensor)
        check = None
        if self.check is not None and self.check_source is not None:
            check = torch.from_numpy(scores_of(self.check, judged, self.check_source.name, self.check_source.time_limit_s)).float()
        details = {name: torch.from_numpy(found).float() for one in self.rewards for name, found in one.details().items()}
        return Rewards(total.float(), {name: part.float() for name, part in parts.items()}, check, details)

    def _name(self, place: int) -> str:
        """Told apart by number where two are called the same."""
        name = Path(self.sources[place].name).stem
        same = [i for i, source in enumerate(self.sources) if Path(source.name).stem == name]
        return name if len(same) == 1 else f"{name}-{same.index(place)}"

    def _judged(self, example: Example, answer: Answer) -> Judged:
        facts = example.facts
        written = self.renderer.read_answer(answer.ids, facts["tools"])
        messages = tuple(msgspec.convert(message, Message) for message in facts["messages"])
        ids = np.concatenate([example.prompt, answer.ids])
        return Judged(messages, written.content, facts["item"], answer.finished, len(answer.ids), ids, written.tool_calls)


def component_of(source: RewardSource) -> Component:
    """Name and own settings alone."""
    return Component(name=source.name, **source.settings)


def check_given(spec: RunSpec, needed: bool) -> None:
    """A method that draws answers has a reward, and no other has one.

    Raises:
        SettingsError: one is missing, or has no effect.
    """
    if needed and not spec.reward:
        raise SettingsError(
            f"`{spec.method.name}` learns from a reward, and none is given. Name one: `reward: {{name: reward_model, path: runs/rm}}`, "
            f"`reward: {{name: grader, …}}` or a function of your own, `reward: ./mine.py:score`."
        )
    for key in ("reward", "check"):
        if not needed and getattr(spec, key):
            raise SettingsError(
                f"`{key}` has no effect: `{spec.method.name}` draws no answers to judge. Remove it, or use `ppo` or `grpo`."
            )
    for i, source in enumerate(spec.reward):
        if spec.check is not None and component_of(spec.check) == component_of(source):
            where = "reward" if len(spec.reward) == 1 else f"reward[{i}]"
            raise SettingsError(
                f"`check` is the same as `{where}` (`{source.name}`), so it sees nothing that is not learned from. Give a check that "
                f"judges otherwise, or remove it."
            )
