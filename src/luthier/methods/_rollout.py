"""Answers that the policy draws, and what was thought of them: what PPO and GRPO share."""

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from luthier.batches.answers import Answer
from luthier.batches.examples import Example, Lot
from luthier.batches.order import steps_of_groups
from luthier.batches.rows import Rows
from luthier.errors import TrainingFailed
from luthier.methods._watch import within_prompts
from luthier.methods.base import OLD, VALIDATION, Measure, Order, Rewards, Roles
from luthier.spec.base import Spec


class Rollout(Spec):
    """How answers are drawn."""

    prompts: int = Field(32, ge=1)
    """Prompts of one lot: so many are answered with the policy as it is then, before it learns from the answers."""
    max_new_tokens: int = Field(128, ge=1)
    """Longest answer in tokens. One that is longer is cut there, and counted as unfinished."""
    temperature: float = Field(1.0, gt=0)
    """At which answers are drawn, and scored. 1 is the policy itself."""
    passes: int = Field(1, ge=1)
    """How often the answers of a lot are learned from before new ones are drawn."""
    json_schema: dict[str, Any] | None = None
    """A JSON schema that answers are held to while they are drawn, token by token. Log-probabilities stay those of the policy without it,
    so it learns to keep to the schema by itself, too."""


DETAILS = ("grader/", "grader_error/")
"""How the names of `Rewards.details` begin."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """n answers. `lot`: prompt and answer of each, every token of the answer scored, with `old` (N,), log-probabilities of training's
    forward. `reference`: the same under the reference, where there is one. `unfinished`: (n,) bool. `metrics`: of all of them."""

    lot: Lot
    answers: tuple[Answer, ...]
    rewards: Rewards
    reference: Tensor | None
    unfinished: Tensor
    metrics: dict[str, float]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each answer."""
        return [len(answer.ids) for answer in self.answers]


def draw(roles: Roles, examples: Seq[Example], number: int, answers_per_prompt: int, rollout: Rollout) -> Drawn:
    """Answers to each example's prompt, judged and scored. `number`: of the lot, which addresses the draws.

    Raises:
        TrainingFailed: a reward that is no number.
    """
    assert roles.judge is not None
    prompts = [example.prompt for example in examples]
    groups = roles.policy.sample(prompts, answers_per_prompt, rollout.max_new_tokens, rollout.temperature, (number,))
    asked = [example for example in examples for _ in range(answers_per_prompt)]
    answers = tuple(answer for group in groups for answer in group)
    rewards = roles.judge.judge(asked, answers)
    if not torch.isfinite(rewards.total).all():
        place = int((~torch.isfinite(rewards.total)).nonzero()[0])
        raise TrainingFailed(
            f"{asked[place].origin}: the reward of an answer to this prompt is {float(rewards.total[place])}, not a number to learn from. "
            f"Mend the reward."
        )
    bare = Lot(tuple(example.answered(answer.ids) for example, answer in zip(asked, answers, strict=True)))
    old = roles.policy.column(bare, rollout.temperature)
    reference = None if roles.reference is None else roles.reference.column(bare, rollout.temperature)
    unfinished = torch.tensor([not answer.finished for answer in answers])
    prompt = torch.arange(len(examples)).repeat_interleave(answers_per_prompt)
    columns = {"prompt": prompt, "reward": rewards.total} | ({} if rewards.check is None else {"check": rewards.check})
    if number == VALIDATION:
        columns |= rewards.details
    tokens = {OLD: old} | ({} if reference is None else {"reference": reference})
    metrics = _metrics(answers, rewards, unfinished, old, reference, answers_per_prompt)
    return Drawn(Lot(bare.examples, columns, tokens, metrics), answers, rewards, reference, unfinished, metrics)


def only_finished(lot: Lot, unfinished: Tensor, longest: int) -> Lot:
    """A lot of drawn answers without those that were cut at the length limit, `longest` tokens. unfinished: (n,) bool.

    Raises:
        TrainingFailed: none is left.
    """
    kept = (~unfinished).nonzero()[:, 0].numpy()
    if not len(kept):
        raise TrainingFailed(
            f"None of {len(lot)} answers ended within `method.rollout.max_new_tokens` ({longest}), so with `truncated: drop` there is "
            f"nothing to learn from. Raise it, or choose `bootstrap` or `penalty`."
        )
    return lot.take(kept)


def steps_by_prompt(lot: Lot, order: Order, epoch: int) -> list[np.ndarray]:
    """Answers to one prompt next to each other. Data sets were mixed by their weights when the prompts of the lot were chosen."""
    return steps_of_groups(lot.row_columns["prompt"].numpy(), order.batch_size, order.seed, epoch)


def _metrics(
    answers: tuple[Answer, ...], rewards: Rewards, unfinished: Tensor, old: Tensor, reference: Tensor | None, answers_per_prompt: int
) -> dict[str, float]:
    """What a person looks at: rewards, lengths, how far the policy is from the reference, how far the sampler from training's forward."""
    gap = (torch.cat([torch.from_numpy(answer.logprobs) for answer in answers]) - old).abs()
    found = {
        **_spread("reward", rewards.total, answers_per_prompt),
        **{f"reward/{name}": float(part.mean()) for name, part in rewards.parts.items() if len(rewards.parts) > 1},
        **({} if rewards.check is None else _of_check(rewards.total, rewards.check, answers_per_prompt)),
        **{name: float(values.mean()) for name, values in rewards.details.items()},
        "answers": float(len(answers)),
        "answer_tokens": sum(len(answer.ids) for answer in answers) / len(answers),
        "unfinished": float(unfinished.double().mean()),
        "sampler_gap": float(gap.max()),
    }
    if reference is not None:
        found["kl"] = float((old - reference).sum()) / len(answers)
        found["kl_per_token"] = float((old - reference).mean())
    return found


def _of_check(reward: Tensor, check: Tensor, answers_per_prompt: int) -> dict[str, float]:
    """Its spread, and, where there are several answers to a prompt, whether the reward likes what it likes."""
    found = _spread("check", check, answers_per_prompt)
    if answers_per_prompt < 2:
        return found
    correlation, error = within_prompts(reward.view(-1, answers_per_prompt), check.view(-1, answers_per_prompt))
    return {**found, "check_correlation": correlation, "check_correlation_error": error}


def _spread(name: str, values: Tensor, answers_per_prompt: int) -> dict[str, float]:
    """Mean, deviation, and the mean's standard error: from the prompts' means, because answers to one prompt are alike."""
    deviation = float(values.std()) if len(values) > 1 else 0.0
    of_prompts = values.view(-1, answers_per_prompt).mean(1)
    several = len(of_prompts) > 1
    error = float(of_prompts.std()) / len(of_prompts) ** 0.5 if several else deviation / len(values) ** 0.5
    return {name: float(values.mean()), f"{name}_std": deviation, f"{name}_error": error}


def measured(rows: Rows) -> dict[str, Measure]:
    """What validation reports of rows that were drawn. `loss` is minus the reward: the best is the lowest, as everywhere."""
    ones = torch.ones(len(rows), device=rows.weights.device)
    columns = rows.columns
    found = {"loss": Measure(-columns["reward"], ones), "reward": Measure(columns["reward"], ones)}
    found |= {name: Measure(column, ones) for name, column in columns.items() if name == "check" or name.startswith(DETAILS)}
    if "reference" in columns:
        found["kl"] = Measure(rows.per_row(columns[OLD] - columns["reference"]), ones)
    return found | {"answer_tokens": Measure(rows.per_row(torch.ones_like(rows.weights)), ones)}
