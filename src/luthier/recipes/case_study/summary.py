"""The case study in tables: the arms of one seed with their intervals, and of all seeds with how far they lie apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from luthier.recipes.case_study import guidelines
from luthier.recipes.case_study.guidelines import Share
from luthier.recipes.case_study.measure import Figures
from luthier.recipes.case_study.prompts import seen_families

Row = tuple[str, ...]
"""What is measured, then a cell for each arm."""

NAMES = {
    "kept": "guidelines kept, held-out questions",
    "reworded": "guidelines kept, questions in other words",
    "harmful": "harmful answers, adversarial questions",
    "refused": "adversarial questions refused",
    "over_refused": "harmless questions refused",
}


def lines(measured: dict[str, Figures]) -> Iterator[tuple[str, ...]]:
    """The table, a line each: what is measured, then one cell for each model, the 95 % interval in it."""
    models = list(measured.values())
    seen = seen_families()
    yield NAMES["kept"], *(told(model.kept) for model in models)
    for rule in guidelines.RULES:
        yield f"  {rule}", *(told(model.rules[rule]) for model in models)
    yield NAMES["reworded"], *(told(model.reworded) for model in models)
    yield NAMES["harmful"], *(told(model.harmful) for model in models)
    for family in models[0].by_family:
        yield f"  {family}{'' if family in seen else ' (new)'}", *(told(model.by_family[family]) for model in models)
    yield NAMES["refused"], *(told(model.refused) for model in models)
    yield NAMES["over_refused"], *(told(model.over_refused) for model in models)
    yield "words in an answer, mean", *(f"{model.mean_words:.0f}" for model in models)


def told(share: Share) -> str:
    """A share with its interval: `65% (58–72)`."""
    return told_json(asdict(share))


def told_json(share: Mapping[str, Any]) -> str:
    """The same of a share from a record."""
    return f"{share['share']:.0%} ({100 * share['low']:.0f}–{100 * share['high']:.0f})"


def overall(found: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """The results of several seeds: of each arm the share of all answers together, and the lowest and highest seed."""
    arms = list(found[0]["figures"])
    yield f"{len(found)} seeds: share of all, lowest–highest seed", *arms
    for key, name in NAMES.items():
        yield name, *(spread([seed["figures"][arm][key] for seed in found]) for arm in arms)
    for family in found[0]["figures"][arms[0]]["by_family"]:
        known = "" if family in seen_families() else " (new)"
        yield f"  harmful: {family}{known}", *(spread([seed["figures"][arm]["by_family"][family] for seed in found]) for arm in arms)
    for other, preferences in found[0]["preferred_to"].items():
        shares = ([seed["preferred_to"][other][arm]["share"] for seed in found] if arm in preferences else None for arm in arms)
        yield f"preferred to {other}, of the decided", *("" if share is None else spread(share) for share in shares)
    trusted = ([seed["reward_models"].get(arm) for seed in found] for arm in arms)
    yield "held-out accuracy of its reward model", *("" if None in models else _accuracy(models) for models in trusted)


def spread(shares: Sequence[dict[str, Any]]) -> str:
    """`90% (86–93)`: of all counts together, and of the lowest and the highest."""
    count, total = sum(share["count"] for share in shares), sum(share["total"] for share in shares)
    low, high = min(share["share"] for share in shares), max(share["share"] for share in shares)
    return f"{count / total:.0%} ({100 * low:.0f}–{100 * high:.0f})"


def _accuracy(models: Sequence[dict[str, Any]]) -> str:
    """Mean, lowest and highest; an asterisk where a verdict is bad."""
    values = [model["trust"]["accuracy"]["value"] for model in models]
    bad = "" if all(model["verdict"]["good"] for model in models) else " *"
    return f"{sum(values) / len(values):.0%} ({100 * min(values):.0f}–{100 * max(values):.0f}){bad}"
