"""A pipeline from its YAML file: every stage's settings and every `${name}` checked, each fault one sentence with its line."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from luthier.errors import SettingsError
from luthier.spec import yaml_core
from luthier.spec.base import Spec
from luthier.spec.faults import found_value, sentences
from luthier.spec.load import load_part, read_text
from luthier.spec.nearest import did_you_mean, listed, nearest
from luthier.spec.pipeline import KINDS, MAKES, NAME, REFERENCE, Pipeline, Reference, Repeat, Rounds, Stage, bound
from luthier.spec.pipeline_override import override
from luthier.spec.settings import table

Places = Mapping[str, str]
S = TypeVar("S", bound=Spec)

TAKES = {("merge", "run"): "train", ("rank", "answers"): "answers"}
"""Settings that take what one kind of stage makes."""


def load_pipeline(path: str, out: str | None = None, overrides: Sequence[str] = ()) -> Pipeline:
    """Read and check a pipeline file.

    Args:
        out: the folder of its stages, over the file's own. overrides: `stages.ppo.train.max_steps=4`, as `pipeline_override` has them.
    Raises:
        SettingsError: what is wrong, where, and what may stand there.
    """
    values, places = _parsed(path)
    override(values, places, overrides)
    _refuse_others(values, {"out": "", "stages": ""}, "", places, "a pipeline")
    folder = out or values.get("out") or str(Path("pipelines") / Path(path).stem)
    if not isinstance(folder, str):
        raise SettingsError(f"{places['out']}`out` is {found_value(folder)}. It must be a folder.")
    elements = values.get("stages")
    if not isinstance(elements, list) or not elements:
        raise SettingsError(
            f"{path}: `stages` is missing. Give a list of stages, such as `- {{name: sft, kind: train, data: rows.jsonl}}`."
        )
    items = tuple(_item(element, f"stages[{i}]", places) for i, element in enumerate(elements))
    pipeline = Pipeline(path, folder, items)
    _check(pipeline)
    return pipeline


def settings_of(stage: Stage, values: Mapping[str, Any]) -> Spec:
    """A stage's checked settings. `values`: its own, with references or what they stand for.

    Raises:
        SettingsError: one sentence for each fault.
    """
    kind = KINDS[stage.kind]
    if kind is None:
        return load_part(values, stage.places, stage.file)
    return _validated(kind, values, "", stage.at)


def _parsed(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    text = read_text(Path(path), "pipeline file")
    try:
        values, lines = yaml_core.parse(text, path)
    except SettingsError as error:
        line = str(error).removeprefix(f"{path}:").partition(":")[0]
        written = text.splitlines()[int(line) - 1] if line.isdigit() and int(line) <= text.count("\n") + 1 else ""
        hint = " Inside { } and [ ] write `${name}` in quotes." if "${" in written else ""
        raise SettingsError(f"{error}{hint}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: a pipeline file holds `stages`, a list. This one holds {found_value(values)}.")
    return values, {key: f"{path}:{line}: " for key, line in lines.items()}


def _item(element: Any, key: str, places: Places) -> Stage | Rounds:
    place = _place(key, places)
    if not isinstance(element, dict):
        raise SettingsError(f"{place}`{key}` is {found_value(element)}. A stage is a group of settings with a `name` and a `kind`.")
    if "repeat" not in element:
        return _stage(element, key, places)
    _refuse_others(element, {"repeat": "", "stages": ""}, f"{key}.", places, "a group of rounds")
    stages = element.get("stages")
    if not isinstance(stages, list) or not stages:
        raise SettingsError(f"{place}`{key}.stages` is missing. Give the list of stages that are repeated.")
    for i, inner in enumerate(stages):
        if isinstance(inner, dict) and "repeat" in inner:
            raise SettingsError(f"{_place(f'{key}.stages[{i}]', places)}rounds stand inside of rounds. Only one level is possible.")
    repeat = _validated(Repeat, element["repeat"], f"{key}.repeat", lambda at: _place(at, places))
    return Rounds(repeat, tuple(_stage(inner, f"{key}.stages[{i}]", places) for i, inner in enumerate(stages)), place)


def _stage(element: Any, key: str, places: Places) -> Stage:
    place = _place(key, places)
    if not isinstance(element, dict):
        raise SettingsError(f"{place}`{key}` is {found_value(element)}. A stage is a group of settings with a `name` and a `kind`.")
    name, kind = element.get("name"), element.get("kind")
    if not isinstance(name, str) or not NAME.fullmatch(name) or name == "or":
        must = "It must begin with a letter and hold letters, digits, `-` and `_`, and not be `or`."
        found = "is missing" if name is None else f"is {found_value(name)}"
        raise SettingsError(f"{_place(f'{key}.name', places)}`{key}.name` {found}. {must}")
    if not isinstance(kind, str) or kind not in KINDS:
        found = "has no `kind`" if kind is None else f"is of kind {found_value(kind)}"
        near = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
        raise SettingsError(f"{_place(f'{key}.kind', places)}the stage `{name}` {found}. It must be {listed(list(KINDS))}.{near}")
    beside = {"name", "kind"} | ({"file"} if kind == "train" else set())
    values = {setting: value for setting, value in element.items() if setting not in beside}
    own = {at.removeprefix(f"{key}."): text for at, text in places.items() if at.startswith(f"{key}.")}
    file = element.get("file") if kind == "train" else None
    if file is not None and not isinstance(file, str):
        raise SettingsError(f"{own['file']}`file` is {found_value(file)}. It must be a run file, such as run.yaml.")
    if kind == "train" and "out" in values:
        raise SettingsError(f"{own['out']}`out` has no effect in a stage: its folder lies in the pipeline's. Remove it.")
    return Stage(name, kind, values, place, own, file)


def _refuse_others(group: Mapping[str, Any], known: Mapping[str, str], prefix: str, places: Places, what: str) -> None:
    for key in group:
        if key not in known:
            holds = listed(list(known), "and")
            raise SettingsError(
                f"{_place(prefix + key, places)}`{prefix}{key}` is not a setting: {what} holds {holds}.{did_you_mean(key, known)}"
            )


def _validated(kind: type[S], values: Any, prefix: str, where: Callable[[str], str]) -> S:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        own = table(kind.model_json_schema(), re.sub(r"\[\d+\]", "[]", prefix))
        raise SettingsError("\n".join(sentences(error, own, own, where, prefix))) from None


def _place(key: str, places: Places) -> str:
    """The place of a key, or of the nearest group or element around it; of a stage in a list, that of its first setting."""
    while key:
        if key in places:
            return places[key]
        inside = [place for at, place in places.items() if at.startswith(f"{key}.")]
        if inside:
            return inside[0]
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return ""


def _check(pipeline: Pipeline) -> None:
    """Names, references and settings of all stages, before anything is made."""
    known: dict[str, Stage] = {}
    for stage in pipeline.stages:
        if stage.name in known:
            raise SettingsError(f"{stage.place}a second stage is called `{stage.name}`. Give each a name of its own.")
        known[stage.name] = stage
    before: dict[str, Stage] = {}
    for item in pipeline.items:
        group: tuple[Stage, ...] = ()
        if isinstance(item, Rounds):
            _check_metric(item)
            group = item.stages
        for stage in (item,) if isinstance(item, Stage) else group:
            for reference in stage.references:
                _check_reference(stage, reference, known, before, group)
            _check_whole(stage, known)
            _check_broken(stage)
            settings_of(stage, bound(stage.values, lambda names: f"${{{names[-1]}}}"))
            before[stage.name] = stage


def _check_reference(
    stage: Stage, reference: Reference, known: Mapping[str, Stage], before: Mapping[str, Stage], group: Sequence[Stage]
) -> None:
    place, text = stage.at(reference.key), reference.text
    for name in reference.names:
        if name not in known:
            near = nearest(name, known)
            hint = f"Did you mean `${{{near}}}`?" if near else f"There are {listed(list(known), 'and')}."
            raise SettingsError(f"{place}`{reference.key}` of the stage `{stage.name}` names `{text}`, and no stage is called so. {hint}")
    *newer, oldest = reference.names
    if len(newer) > 1:
        raise SettingsError(
            f"{place}`{text}` names {len(reference.names)} stages; two are the most: the newer one, `or` what there is at first."
        )
    if newer and (newer[0] not in {other.name for other in group} or newer[0] in before):
        raise SettingsError(
            f"{place}`{text}` has no effect: `or` is for rounds, where `{newer[0]}` would be a later stage of the same rounds, whose "
            f"result of the round before is taken. Name one stage."
        )
    if oldest in before:
        return
    if oldest == stage.name:
        raise SettingsError(
            f"{place}the stage `{stage.name}` needs its own result, `{text}`. Name an earlier stage.{_rounds(stage, oldest, group)}"
        )
    circle = _leads_to(known[oldest], stage.name, known)
    if circle:
        names = " needs ".join(f"`{name}`" for name in [stage.name, *circle])
        raise SettingsError(f"{place}{names}: a circle, in which none can be first. Take one `${{…}}` out.{_rounds(stage, oldest, group)}")
    raise SettingsError(f"{place}the stage `{stage.name}` needs `{oldest}`, which stands after it. Move `{oldest}` up.")


def _rounds(stage: Stage, name: str, group: Sequence[Stage]) -> str:
    """What to write where the result of the round before is meant."""
    if name not in {other.name for other in group}:
        return ""
    return f" If the result of the round before is meant, say what there is in the first: `${{{name} or earlier}}`."


def _leads_to(stage: Stage, name: str, known: Mapping[str, Stage], seen: frozenset[str] = frozenset()) -> list[str]:
    """The stages from this one on to `name`, each needing the next; empty where none leads there."""
    for needed in dict.fromkeys(reference.names[-1] for reference in stage.references):
        if needed == name:
            return [stage.name, name]
        if needed in known and needed not in seen:
            rest = _leads_to(known[needed], name, known, seen | {stage.name, needed})
            if rest:
                return [stage.name, *rest]
    return []


def _check_whole(stage: Stage, known: Mapping[str, Stage]) -> None:
    """Settings that take one kind of result."""
    for reference in (found for found in stage.references if found.whole):
        made = known[reference.names[-1]].kind
        wanted = TAKES.get((stage.kind, reference.key))
        place = stage.at(reference.key)
        if wanted is not None and made != wanted:
            raise SettingsError(
                f"{place}`{reference.key}` of the stage `{stage.name}` is `{reference.text}`, {MAKES[made]}. It must be {MAKES[wanted]}: "
                f"name a stage of kind `{wanted}`."
            )
        if stage.kind == "train" and reference.key in ("model", "model.path") and made != "merge":
            remedy = (
                f"Put a stage `{{name: merged, kind: merge, run: {reference.text}}}` between them and start from `${{merged}}`; "
                f"of a model that was tuned whole, start from `{reference.text}/model`."
                if made == "train"
                else "Name a stage of kind `merge`."
            )
            raise SettingsError(
                f"{place}`{reference.key}` of the stage `{stage.name}` is `{reference.text}`, {MAKES[made]}, no model. {remedy}"
            )


def _check_broken(stage: Stage) -> None:
    """`${` that is no reference."""

    def strings(value: Any, key: str) -> list[tuple[str, str]]:
        if isinstance(value, str):
            return [(key, value)]
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [found for name, item in pairs for found in strings(item, f"{key}.{name}" if key else str(name))]

    for key, text in strings(stage.values, ""):
        if "${" in REFERENCE.sub("", text):
            raise SettingsError(f"{stage.at(key)}`{key}` is {found_value(text)}, in which a `${{` is not closed. Write `${{name}}`.")


def _check_metric(rounds: Rounds) -> None:
    metric = rounds.repeat.until.metric
    name, dot, _ = metric.partition(".")
    names = [stage.name for stage in rounds.stages]
    if not dot or name not in names:
        raise SettingsError(
            f"{rounds.place}`repeat.until.metric` is {metric}. It must be a stage of these rounds ({listed(names)}), a point, and "
            f"a figure of its record, such as `compare.win_rate`.{did_you_mean(name, names)}"
        )
