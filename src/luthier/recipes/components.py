"""The components a run names: method and adapter with their checked settings, and who plays the roles the method needs."""

import copy
import inspect
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from luthier.adapters import lora
from luthier.batches.answers import Answer
from luthier.batches.encode import Learns
from luthier.batches.examples import Example
from luthier.batches.randomness import torch_generator
from luthier.engine.setup import CRITIC, POLICY, REFERENCE, REWARD, AdapterChoice
from luthier.errors import SettingsError
from luthier.methods.base import Judge, Method, Rewards, Roles
from luthier.models.constraint import Grammars, LogitsMask
from luthier.models.forward import Root
from luthier.models.roles import PolicyModel, ReferenceModel, ScalarModel
from luthier.models.world import ALONE, World
from luthier.recipes.judging import RunJudge, check_given
from luthier.spec import folder as registry
from luthier.spec.base import Spec
from luthier.spec.component import configure
from luthier.spec.effective import refuse_ineffective
from luthier.spec.run import RunSpec
from luthier.text.tokenizer import Tokenizer

Masks = Callable[[], LogitsMask]
"""Makes what holds one answer to a form."""


@dataclass(frozen=True)
class Parts:
    """The components a run names, with their checked settings."""

    method: type[Method[Any, Any]]
    method_config: Spec
    adapter: AdapterChoice

    @property
    def needs(self) -> frozenset[str]:
        """The roles that the method needs with its settings."""
        return self.method.needs_of(self.method_config)

    @property
    def draws(self) -> bool:
        """Whether the policy draws answers in a way that is known before: a method of a user's own may do as it likes."""
        return self.method.on_policy and hasattr(self.method_config, "rollout")

    @property
    def learns(self) -> Learns:
        """Which tokens of a row are scored with its settings."""
        return self.method.learns_of(self.method_config)


def resolve(spec: RunSpec) -> Parts:
    """Find method and adapter and check their settings, before anything is loaded.

    Raises:
        SettingsError: an unknown component or setting, or one without effect.
    """
    method_module = registry.load("luthier.methods", spec.method.name)
    adapter_module = registry.load("luthier.adapters", spec.adapter.name)
    method = method_class(method_module)
    refuse_ineffective(spec, reads_conversations=set(method.rows) != {"Document"})
    method_config = configure(method_module.Config, spec.method, "method")
    adapter_config = configure(adapter_module.Config, spec.adapter, "adapter")
    check_given(spec, "judge" in method.needs_of(method_config))
    if method.learns == "prompts" and spec.data.too_long == "cut":
        raise SettingsError("`data.too_long: cut` would cut the end of questions away. Use `drop`, or `refuse`.")
    if method.on_policy and (spec.evaluation.every == "epoch" or spec.checkpoints.keep_epochs or spec.evaluation.glance_every):
        raise SettingsError(
            f"`evaluation.every: epoch`, `evaluation.glance_every` and `checkpoints.keep_epochs` have no effect with `{spec.method.name}`, "
            f"which draws its own answers: give `evaluation.every` and `checkpoints.every` in steps."
        )
    if method.on_policy and (spec.train.dropout or getattr(adapter_config, "dropout", 0)):
        raise SettingsError(
            f"`{spec.method.name}` compares the policy with itself, which dropout makes another model each time. "
            f"Leave `train.dropout` and `adapter.dropout` at 0."
        )
    return Parts(method, method_config, AdapterChoice(spec.adapter.name, adapter_module, adapter_config))


def method_class(module: ModuleType) -> type[Method[Any, Any]]:
    """The one subclass of `Method` that a file declares.

    Raises:
        SettingsError: none, or several.
    """
    found = [c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, Method) and c.__module__ == module.__name__]
    if len(found) != 1:
        raise SettingsError(f"{module.__file__} declares {len(found)} subclasses of `Method`; a method's file declares exactly one.")
    return found[0]


def cast_roles(
    root: Root,
    parts: Parts,
    spec: RunSpec,
    token_budget: int,
    judge: RunJudge | None = None,
    world: World = ALONE,
    divide: Callable[[Root], object] = lambda _: None,
    masks: Masks | None = None,
) -> Callable[[Root], Roles]:
    """Who plays the roles that the method needs, on a given root. A critic's adapter and head are put onto `root`.

    Args:
        divide: told of every other root that is made, to hold it in parts. masks: see `held_to`.

    The reference is what the policy starts from, frozen: the base alone where an adapter learns that at first changes nothing, a copy of
    the adapter that it goes on from, or, where the base itself learns, a copy of the base.

    Raises:
        SettingsError: a role that nobody can play.
    """
    needs, adapter, seed = parts.needs, parts.adapter, spec.train.seed
    if unknown := needs - {"reference", "critic", "scorer", "judge"}:
        raise SettingsError(f"`{spec.method.name}` needs a model as {sorted(unknown)[0]}, which a run cannot be given.")
    whole: bool = adapter.module.WHOLE_MODEL
    frozen = copy.deepcopy(root).requires_grad_(False) if "reference" in needs and whole else None
    if frozen is not None:
        divide(frozen)
    if "reference" in needs and adapter.start is not None:
        _add_reference(root, adapter)
    if "scorer" in needs:
        root.add_scalar_head(REWARD, torch_generator(seed, "reward head"))
    if "critic" in needs:
        _add_critic(root, adapter, judge, seed)
    return lambda on: roles_on(on, parts, seed, token_budget, frozen, judge, world, masks)


def held_to(config: Any, tokenizer: Tokenizer, num_logits: int) -> Masks | None:
    """What holds a method's answers to the form that its settings name; None where they name none.

    Raises:
        SettingsError: a schema that cannot be held to, or llguidance is not installed.
    """
    schema = getattr(getattr(config, "rollout", None), "json_schema", None)
    if schema is None:
        return None
    grammars = Grammars(tokenizer, num_logits)
    grammars.json_schema(schema)
    return lambda: grammars.json_schema(schema)


def roles_on(
    on: Root,
    parts: Parts,
    seed: int,
    token_budget: int,
    frozen: Root | None,
    judge: Judge | None,
    world: World = ALONE,
    masks: Masks | None = None,
) -> Roles:
    """Who plays the roles on a root that has the heads and adapters for it. `frozen`: the base's copy that is the reference."""
    needs, adapter = parts.needs, parts.adapter
    return Roles(
        PolicyModel(on, adapter.role, seed, token_budget, world, masks),
        ReferenceModel(frozen or on, adapter.start and REFERENCE, token_budget, world) if "reference" in needs else None,
        ScalarModel(on, None if adapter.module.WHOLE_MODEL else CRITIC, CRITIC, token_budget, world) if "critic" in needs else None,
        ScalarModel(on, adapter.role, REWARD, token_budget, world) if "scorer" in needs else None,
        judge if judge is None or world.size == 1 else OneJudge(judge, world),
    )


@dataclass(frozen=True)
class OneJudge:
    """A judge that one of several processes asks for all: it may run programs, or say something else when asked again."""

    judged_by: Judge
    world: World

    @property
    def checks(self) -> bool:
        return self.judged_by.checks

    def judge(self, examples: Seq[Example], answers: Seq[Answer]) -> Rewards:
        return self.world.once(lambda: self.judged_by.judge(examples, answers))


def _add_reference(root: Root, adapter: AdapterChoice) -> None:
    """The adapter that the policy goes on from once more, which never learns."""
    adapter.module.attach(root.model, adapter.config, REFERENCE, torch.Generator(), root.output)
    own, policy = (adapter.module.trainable(root.model, name) for name in (REFERENCE, POLICY))
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(policy[name])
            parameter.requires_grad_(False)


def _add_critic(root: Root, adapter: AdapterChoice, judge: RunJudge | None, seed: int) -> None:
    """A critic's head, and its adapter where one learns. It starts from a reward model that shares the base: it knows what to expect."""
    head = root.add_scalar_head(CRITIC, torch_generator(seed, "critic head"))
    if adapter.module.WHOLE_MODEL:
        return
    if judge is None or not judge.shared or judge.shared[0] not in judge.rewards:  # nothing starts from a check
        adapter.module.attach(root.model, adapter.config, CRITIC, torch_generator(seed, "critic"), root.output)
        return
    lora.load(root.model, CRITIC, judge.shared[0].weights, root.output)
    with torch.no_grad():
        for own, known in zip(head.parameters(), root.scalar_heads[REWARD].parameters(), strict=True):
            own.copy_(known)
