"""Who judges: what a person writes after `--judge`, opened."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import SettingsError
from luthier.recipes.raters import OfRankings
from luthier.recipes.verdicts import ByBoth, ByScore, Judge
from luthier.rewards import load as rewards
from luthier.rewards.own import is_own
from luthier.spec import folder
from luthier.spec.base import Component
from luthier.spec.nearest import did_you_mean, listed
from luthier.spec.yaml_core import parse

SETTINGS = (".yaml", ".yml", ".json")
GRADERS = "luthier.graders"

BOTH = "item.answer_1"
"""A template that names it looks at both answers."""

REMEDY = (
    "Give the run of a reward model, a grader's settings (a YAML or JSON file), a reward by name or as `./mine.py:score`, "
    "or a file of people's judgements."
)


def rating_files(names: Sequence[str]) -> tuple[Path, ...]:
    """The files of people's judgements among the judges.

    Raises:
        SettingsError: one of them beside another kind of judge; several of which none is such a file.
    """
    files = tuple(Path(name).expanduser() for name in names if _holds_judgements(name))
    if len(names) > 1 and len(files) < len(names):
        raise SettingsError("One judge at a time: only files of people's judgements can be given several times, one for each rater.")
    return files


def open_judge(names: Sequence[str], say: Callable[[str], None] = lambda _: None) -> Judge:
    """A judge that can be asked.

    Raises:
        UserError: no such thing, or its settings are wrong, or what it needs is not there.
    """
    if not names:
        raise SettingsError(f"Nothing says who judges. {REMEDY}")
    if files := rating_files(names):
        return OfRankings(files)
    (name,) = names
    component = _component(name)
    say(f"Opening the judge {name}")
    return judge_of(_shown(name), component)


def judge_of(name: str, component: Component) -> Judge:
    """A reward as a judge: of both answers at once where its settings name both, else of each by itself. Raises `UserError`."""
    reward = rewards.reward(component, "judge")
    looks_at_both = BOTH in json.dumps(component.settings, default=str)
    return ByBoth(name, reward) if looks_at_both else ByScore(name, reward)


def _component(name: str) -> Component:
    path = Path(name).expanduser()
    if path.suffix in SETTINGS and path.is_file():
        return _of_settings(_settings(path), path)
    if (path / "run.yaml").is_file():
        return Component.model_validate({"name": "reward_model", "path": name})
    if is_own(name) or name in folder.names(rewards.ROOM):
        return Component.model_validate(name)
    raise SettingsError(f"There is no judge {name}.{did_you_mean(name, folder.names(rewards.ROOM))} {REMEDY}")


def _of_settings(settings: dict[str, Any], path: Path) -> Component:
    """An OpenAI grader alone, by its `type`; or a reward by its `name`, as in a run."""
    if settings.get("type") in folder.names(GRADERS):
        return Component.model_validate({"name": "grader", "grader": settings})
    if "name" not in settings:
        raise SettingsError(
            f"{path} is no judge: it has neither a grader's `type` ({listed(folder.names(GRADERS))}) nor a reward's `name`. {REMEDY}"
        )
    return Component.model_validate(settings)


def _settings(path: Path) -> dict[str, Any]:
    """Of a YAML file, or a JSON file, which is YAML, too. Raises SettingsError: not a mapping."""
    try:
        value, _ = parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text, so it holds no settings of a judge. {REMEDY}") from None
    if not isinstance(value, dict):
        raise SettingsError(f"{path} holds no settings of a judge. {REMEDY}")
    return value


def _holds_judgements(name: str) -> bool:
    """Whether a file holds rows, and not a judge's settings or program."""
    path = Path(name).expanduser()
    if not path.is_file() or path.suffix in (".yaml", ".yml", ".py"):
        return False
    if path.suffix != ".json":
        return True
    beginning = path.read_bytes().lstrip()[:1]
    return beginning == b"[" or not isinstance(_settings(path).get("type"), str)


def _shown(name: str) -> str:
    return Path(name).name if Path(name).exists() else name
