"""`Setup`: everything the loop is given. Made once by a recipe; a resumed run gets the same one."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import nn

from luthier.batches.examples import Example
from luthier.engine.folder import RunFolder
from luthier.engine.sharding import Sharded
from luthier.methods.base import Method
from luthier.models import heads
from luthier.models.device import DtypeChoice
from luthier.models.forward import Root
from luthier.models.world import ALONE, World
from luthier.spec.base import Spec
from luthier.spec.run import RunSpec
from luthier.text.renderer import Renderer

POLICY = "default"
"""The adapter that learns, as PEFT calls a sole adapter."""

REFERENCE = "reference"
"""The frozen adapter that is the reference, where the policy starts from an adapter that is something already."""

CRITIC = "critic"
"""The adapter of a critic, and its scalar head."""

REWARD = "reward"
"""The scalar head of a reward model in training; where one only judges, its adapter, too."""


@dataclass(frozen=True)
class AdapterChoice:
    """A module of `adapters`, its settings, and what it may not touch."""

    name: str
    module: Any
    config: Spec

    @property
    def role(self) -> str | None:
        """The routing of the policy: the adapter's name, or None where the base's own weights learn."""
        return None if self.module.WHOLE_MODEL else POLICY

    @property
    def start(self) -> str | None:
        """The folder of the adapter that learning goes on from, where it does not begin anew."""
        start: str | None = getattr(self.config, "start", None)
        return start

    def trainable(self, root: Root) -> dict[str, nn.Parameter]:
        """What learns, by name: the policy's weights as they are saved; of a critic `critic/…`, of heads `heads/…`."""
        found: dict[str, nn.Parameter] = dict(self.module.trainable(root.model, POLICY))
        if CRITIC in root.scalar_heads and not self.module.WHOLE_MODEL:
            found |= {f"critic/{name}": p for name, p in self.module.trainable(root.model, CRITIC).items()}
        return found | {f"heads/{name}": p for name, p in root.scalar_heads.named_parameters() if p.requires_grad}


@dataclass(frozen=True, eq=False)
class Setup:
    """`make_method`: the run's method on a given root. `description`: what the console and the record say about the run."""

    spec: RunSpec
    folder: RunFolder
    model_folder: Path
    root: Root
    adapter: AdapterChoice
    make_method: Callable[[Root], Method[Spec, Spec]]
    renderer: Renderer
    train: Seq[Example]
    validation: Seq[Example]
    dataset_names: tuple[str, ...]
    device: torch.device
    dtype: DtypeChoice
    token_budget: int
    description: dict[str, str] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    """What is known before the first step: fingerprints, versions, machine, tier."""
    world: World = ALONE
    sharded: Sharded | None = None
    """Where the root's weights lie in parts."""

    @contextmanager
    def alone(self) -> Iterator[Self]:
        """This setup for the first process alone, which has all weights meanwhile. Called by all; the others do nothing with it."""
        if self.sharded is None:
            yield replace(self, world=ALONE)
            return
        with self.sharded.whole() as root:
            yield replace(self, root=root, world=ALONE, sharded=None)

    @property
    def makes_reward_model(self) -> bool:
        """Whether a reward head learns here; it may also stand on the root as a judge."""
        return REWARD in self.root.scalar_heads and all(p.requires_grad for p in self.root.scalar_heads[REWARD].parameters())

    def read_weights(self, path: Path) -> dict[str, torch.Tensor]:
        """What `write_weights` wrote, by the names of what learns."""
        found = load_file(path / self.adapter.module.WEIGHTS)
        if self.makes_reward_model:
            found |= {f"heads/{REWARD}.{name}": value for name, value in load_file(path / heads.FILE).items()}
        return found

    def write_weights(self, weights: dict[str, torch.Tensor], path: Path) -> None:
        """The policy's weights, in the adapter's own format; of a reward model its head beside them."""
        of_policy = {name: value for name, value in weights.items() if not name.startswith(("critic/", "heads/"))}
        if f"heads/{REWARD}.weight" in weights:
            heads.save(path, weights[f"heads/{REWARD}.weight"], weights[f"heads/{REWARD}.bias"])
        self.adapter.module.save(self.root.model, self.adapter.config, POLICY, of_policy, self.spec.model.path, self.root.output, path)
