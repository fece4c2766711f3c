"""A trained reward model: what `luthier train reward_model` made of people's judgements."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from luthier.adapters import lora
from luthier.batches.example import Example
from luthier.batches.examples import Lot
from luthier.data import files
from luthier.errors import ModelError, SettingsError
from luthier.models import device as devices
from luthier.models import heads
from luthier.models import load as models
from luthier.models.forward import Root
from luthier.models.probe import probe
from luthier.models.roles import ScalarModel
from luthier.rewards.base import Judged, Reward
from luthier.spec.base import Spec
from luthier.spec.load import load_run
from luthier.text.renderer import Renderer
from luthier.text.sequence import Sequence as Tokens

ROLE = "reward"
"""Its adapter and its head on a root."""


class Config(Spec):
    """A run of `reward_model`."""

    path: str
    """The run's folder."""
    accept: bool = False
    """Use it although its own report says that it is no better than guessing by length, or was never measured. Stands in the record."""
    token_budget: int = Field(2048, ge=8)
    """Tokens computed at once."""


class RewardModel(Reward[Config]):
    """The scalar head at the last token of prompt and answer, as in training. Ouyang et al., 2022, https://arxiv.org/abs/2203.02155"""

    def __init__(self, config: Config) -> None:
        """Reads what the run says of itself; weights are loaded when they are first needed.

        Raises:
            SettingsError: no such run, another method's, or one whose verdict is bad. ModelError: not finished.
        """
        super().__init__(config)
        self.folder = Path(config.path)
        if not (self.folder / "run.yaml").is_file() or not (self.folder / "record.json").is_file():
            raise SettingsError(f"{config.path} is no finished run. Give the folder of a `luthier train reward_model`.")
        self.spec = load_run(str(self.folder / "run.yaml"))
        self.record: dict[str, Any] = json.loads((self.folder / "record.json").read_text(encoding="utf-8"))
        if self.record["status"] != "succeeded":
            raise ModelError(f"{config.path} is {self.record['status']}. Go on with it first: luthier resume {config.path}")
        self._refuse_changed()
        if not (self.weights / heads.FILE).is_file():
            raise SettingsError(f"{config.path} is a run of `{self.spec.method.name}`, which is no reward model: {heads.FILE} is missing.")
        self._refuse_bad_verdict()
        self._scorer: ScalarModel | None = None

    @property
    def weights(self) -> Path:
        """Where its adapter or its whole model lies, with the head."""
        return self.folder / ("model" if (self.folder / "model").is_dir() else "adapter")

    @property
    def is_adapter(self) -> bool:
        return self.weights.name == "adapter"

    def _refuse_changed(self) -> None:
        """Adapter and head are what the run saved: a head that was lost, or made anew, would judge at random."""
        said = self.record.get("artefact", {}).get("files", {})
        for path in (self.weights / heads.FILE, self.weights / lora.WEIGHTS):
            digest = said.get(f"{self.weights.name}/{path.name}")
            if digest is None or (path.is_file() and files.fingerprint(str(path)) == digest):
                continue
            how = "is not what the run saved" if path.is_file() else "was saved by the run and is gone"
            raise SettingsError(f"{path} {how}, so its scores would mean nothing. Copy the run's folder again, or train it again.")

    def _refuse_bad_verdict(self) -> None:
        verdict = self.record.get("verdict")
        if self.config.accept or (verdict is not None and verdict["good"]):
            return
        why = verdict["why"] if verdict else "It was never measured on judgements it had not seen: train it with `data.validation_share`."
        raise SettingsError(
            f"The reward model {self.config.path} is not to be trusted: {why} `accept: true` uses it all the same, and stands "
            f"in the record."
        )

    def refuse_other(self, renderer: str) -> None:
        """Raises `SettingsError` for another tokenizer or template than the policy's: its tokens would mean something else."""
        if self.record["renderer"] != renderer:
            raise SettingsError(
                f"The reward model {self.config.path} reads text with another tokenizer or chat template than this run's model, so it "
                f"can't judge its answers. Train one from the same model, or from one with the same tokenizer and `model.chat_template`."
            )

    def belongs_to(self, fingerprint: str) -> bool:
        """Whether it was tuned from the same base."""
        return bool(self.record["model"]["fingerprint"] == fingerprint)

    def share(self, root: Root) -> None:
        """Play it on a base that is there already, as one more adapter with a head. For an adapter on that very base."""
        if ROLE not in root.scalar_heads:
            self._attach(root)
        self._scorer = ScalarModel(root, ROLE, ROLE, self.config.token_budget)

    def _attach(self, root: Root) -> None:
        lora.load(root.model, ROLE, self.weights, root.output)
        for parameter in lora.trainable(root.model, ROLE).values():
            parameter.requires_grad_(False)
        heads.load(root, ROLE, self.weights)

    def _loaded(self) -> ScalarModel:
        folder = models.model_folder(self.spec.model) if self.is_adapter else self.weights
        model = models.load_model(folder, getattr(torch, self.record["dtype"]["chosen"]), devices.default_device())
        probed = probe(model)
        root = Root(model.requires_grad_(False), probed.packing, probed.head)
        if self.is_adapter:
            self._attach(root)
        else:
            heads.load(root, ROLE, self.weights)
        return ScalarModel(root, ROLE if self.is_adapter else None, ROLE, self.config.token_budget)

    def score(self, answers: Sequence[Judged]) -> np.ndarray:
        if self._scorer is None:
            self._scorer = self._loaded()
        rows = tuple(Example((_tokens(judged.ids),)) for judged in answers)
        scores: np.ndarray = self._scorer.ends(Lot(rows)).double().numpy()
        return scores

    def renderer(self) -> Renderer:
        """What its texts are written with, for answers that are no tokens yet."""
        folder = models.model_folder(self.spec.model) if self.is_adapter else self.weights
        own = (self.spec.model.chat_template, self.spec.model.template_arguments) if self.is_adapter else (None, None)
        return Renderer.load(folder, own[0], arguments=own[1])


def _tokens(ids: np.ndarray) -> Tokens:
    """Only the last token is read; it is scored, too, because a row has some scored token."""
    weights = np.zeros(len(ids), dtype=np.float32)
    weights[-1:] = 1
    return Tokens(np.asarray(ids, dtype=np.int64), weights)
