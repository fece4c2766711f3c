"""Who plays the roles in a rehearsal: a policy that says nothing, a judge without an opinion, a certificate that is watched."""

import gc
from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luthier.batches.answers import Answer
from luthier.batches.examples import Example
from luthier.engine.certificate import Certifier, Gradient
from luthier.engine.trainable import Masters
from luthier.methods.base import Rewards
from luthier.models.crowd import Crowd
from luthier.models.forward import Root, evaluating
from luthier.models.kept_prompts import KeptPrompts
from luthier.models.roles import PolicyModel

WIDENING = "widening"
"""The act in which the certificate puts wider weights in the place of those that are there."""

COMPARING = "comparing"
"""The act in which it holds one gradient against another."""


class SilentPolicy(PolicyModel):
    """Its answers are as long as they may be, and no two begin alike. What drawing them holds is counted by `draw`."""

    def sample(
        self, prompts: Seq[np.ndarray], n: int, max_new_tokens: int, temperature: float, address: tuple[int, ...], top_p: float = 1.0
    ) -> list[list[Answer]]:
        def answer(prompt: np.ndarray, number: int) -> Answer:
            ids = np.full(max_new_tokens, int(prompt[0]) + number + 1, np.int64)
            return Answer(ids, np.zeros(max_new_tokens, np.float32), finished=True)

        return [[answer(prompt, number) for number in range(n)] for prompt in prompts]


class SilentJudge:
    """Finds each answer another bit better than the one before."""

    def __init__(self, checks: bool) -> None:
        self.checks = checks

    def judge(self, examples: Seq[Example], answers: Seq[Answer]) -> Rewards:
        total = torch.arange(len(answers), dtype=torch.float32)
        return Rewards(total, {}, total.clone() if self.checks else None)


class WatchedMasters(Masters):
    """`copied` is told when gradients are about to be copied: what comes next is kept, and no part of a computation."""

    copied: Callable[[], None] = staticmethod(lambda: None)

    def gradients(self) -> dict[str, Tensor]:
        self.copied()
        return super().gradients()


class WatchedCertifier(Certifier):
    """Told whether a copy fits, and without noise that would have to be drawn: the same tensors are made.

    `begin` is told which act begins, `copied` that what comes next is kept; `own` is given weights that were made anew, in another type.
    """

    room = True
    begin: Callable[[str], None]
    own: Callable[[nn.Module], None]
    copied: Callable[[], None]

    def _has_room(self) -> bool:
        return self.room

    def _perturbed(self, values: Gradient, step: int) -> Gradient:
        noise = {name: torch.empty_like(value) for name, value in values.items()}
        return {name: value + noise[name] for name, value in values.items()}

    def _fp32_noise(self, *_: Any) -> float | None:
        return None

    def _in_type(self, root: Root, masters: Masters, dtype: torch.dtype) -> tuple[Gradient, Gradient]:
        self.begin(WIDENING)
        return super()._in_type(root, masters, dtype)

    def _both(self, root: Root, masters: Masters) -> tuple[Gradient, Gradient]:
        self.own(root)
        if root.model.dtype != torch.float32:  # what holds less than the same in fp32, which comes next, is only kept
            self.begin("narrow")
            self.copied()
            return tuple({name: torch.empty_like(m) for name, m in masters.masters.items()} for _ in range(2))  # type: ignore[return-value]
        self.begin("fast")
        found = super()._both(root, masters)
        self.begin(COMPARING)
        return found

    def _naive(self, root: Root) -> None:
        """The first rows alone: the longest is among them, and gradients are as large after two as after all."""
        self.begin("naive")
        whole, self.lot = self.lot, self.lot.take(np.arange(min(2, len(self.lot))))
        try:
            super()._naive(root)
        finally:
            self.lot = whole


@torch.no_grad()
def draw(root: Root, adapter: str | None, prompts: Seq[np.ndarray], answers: int, length: int) -> None:
    """What the sampler holds for `answers` to each prompt, (n,) ids, of `length` tokens: it is taken to where each is about to end."""
    crowd = Crowd(root, KeptPrompts(0))
    with evaluating(root):
        members, read = crowd.join([(prompt, adapter) for prompt in prompts for _ in range(answers)])
        root.logits(read)
        while True:
            for member in members:
                assert member.tail is not None
                member.newest, member.tail.length = 1, min(member.tail.block.capacity, length - 1)
            _, read = crowd.step()
            root.logits(read)
            if all(member.stored >= length for member in members):
                break
        for member in members:
            crowd.leave(member, keep=False)
    gc.collect()  # a sequence and its keys refer to each other
