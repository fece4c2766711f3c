"""A settings file of another tool, as plain values: YAML, JSON, a Python script or a notebook. Python is read, never run."""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.errors import SettingsError
from luthier.spec import yaml_core
from luthier.spec.load import read_text

Flat = dict[str, Any]
"""Values by dotted key. Lists are values; groups are not."""

CALLS = {
    "FastLanguageModel.from_pretrained": "model",
    "FastModel.from_pretrained": "model",
    "FastVisionModel.from_pretrained": "model",
    "FastLanguageModel.get_peft_model": "lora",
    "FastModel.get_peft_model": "lora",
    "FastVisionModel.get_peft_model": "lora",
    "AutoModelForCausalLM.from_pretrained": "model",
    "AutoModelForSequenceClassification.from_pretrained": "model",
    "LoraConfig": "lora",
    "SFTTrainer": "trainer",
    "DPOTrainer": "trainer",
    "KTOTrainer": "trainer",
    "ORPOTrainer": "trainer",
    "GRPOTrainer": "trainer",
    "RewardTrainer": "trainer",
    "Trainer": "trainer",
    "TrainingArguments": "arguments",
    "UnslothTrainingArguments": "arguments",
    "SFTConfig": "arguments",
    "DPOConfig": "arguments",
    "KTOConfig": "arguments",
    "ORPOConfig": "arguments",
    "GRPOConfig": "arguments",
    "RewardConfig": "arguments",
    "train_on_responses_only": "responses",
    "load_dataset": "dataset",
}
"""Calls whose keyword arguments are settings, and the group under which they stand."""

POSITIONAL = {"model": "model_name", "dataset": "path"}
"""What the first argument without a name is, in those groups."""

NAMES = {
    "model.model_name": "model_name_or_path",
    "model.pretrained_model_name_or_path": "model_name_or_path",
    "model.revision": "model_revision",
    "lora.r": "lora_r",
    "lora.target_modules": "lora_target_modules",
    "lora.use_gradient_checkpointing": "gradient_checkpointing",
    "lora.random_state": "lora_random_state",
    "dataset.path": "dataset_name",
    "dataset.name": "dataset_config",
    "dataset.split": "dataset_train_split",
    "dataset.data_files": "dataset_name",
}
"""Arguments of calls that TRL's own settings files call otherwise."""

OBJECTS = {"model", "tokenizer", "args", "train_dataset", "eval_dataset", "processing_class", "peft_config", "ref_model", "self", "token"}
"""Arguments that are objects of the script, no settings; and keys, which nobody wants printed."""


@dataclass(frozen=True)
class Document:
    """`values`: as they were nested. `flat`: the same by dotted key. `lines`: where each stands. `calls`: what a script called, in order.

    `unread`: of a script, arguments that only running it would tell: name → the text that stands there. A script's settings have the names
    that TRL's own files give them.
    """

    path: str
    values: dict[str, Any]
    flat: Flat
    lines: dict[str, int] = field(default_factory=dict)
    calls: tuple[str, ...] = ()
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def is_script(self) -> bool:
        return Path(self.path).suffix in (".py", ".ipynb")


def read(path: str) -> Document:
    """A file's settings.

    Raises:
        SettingsError: it is not there, cannot be parsed, or holds no settings.
    """
    text = read_text(Path(path), "settings file")
    suffix = Path(path).suffix.lower()
    if suffix == ".py":
        return _of_script(text, path)
    if suffix == ".ipynb":
        return _of_script(_cells(text, path), path)
    if suffix == ".json":
        try:
            values, lines = json.loads(text), dict[str, int]()
        except (json.JSONDecodeError, RecursionError) as error:
            where = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            raise SettingsError(f"{path}{where}: this is not valid JSON: {error}.") from None
    else:
        values, lines = yaml_core.parse(text, path)
    if not isinstance(values, dict) or not values:
        raise SettingsError(
            f"{path}: settings are keys with values, and this file holds none. Name the file that the other tool is started with."
        )
    return Document(path, values, dict(flattened(values)), lines)


def flattened(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """By dotted key. An empty group is a value."""
    for name, value in values.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, dict) and value:
            yield from flattened(value, key)
        else:
            yield key, value


def _cells(text: str, path: str) -> str:
    """A notebook's code, without lines for the shell and for IPython. Lines keep no number of the file."""
    try:
        cells = json.loads(text)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"{path} is no notebook that can be read: it has no cells.") from None
    kept = [[line for line in source.splitlines() if not line.lstrip().startswith(("!", "%", "?"))] for source in sources]
    return "\n".join("\n".join(lines) for lines in kept if _parses("\n".join(lines)))


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return True


def _of_script(text: str, path: str) -> Document:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise SettingsError(f"{path}{f':{line}' if line else ''}: this is not Python that can be read: {error}.") from None
    known = dict(_constants(tree))
    values, lines, unread, calls = dict[str, Any](), dict[str, int](), dict[str, str](), list[str]()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = _name(call.func)
        group = CALLS.get(name) or CALLS.get(name.rpartition(".")[2])
        if group is None:
            continue
        calls.append(name)
        for key, node in _arguments(call, group):
            setting = NAMES.get(f"{group}.{key}", key)
            if key in OBJECTS or setting in values:
                continue
            lines[setting] = node.lineno
            try:
                values[setting] = _literal(node, known)
            except ValueError:
                unread[setting] = ast.unparse(node)
    if calls:
        values["use_peft"] = any("lora" in (CALLS.get(call), CALLS.get(call.rpartition(".")[2])) for call in calls)
    unread = {key: text for key, text in unread.items() if key not in values}
    return Document(path, values, dict(flattened(values)), lines if path.endswith(".py") else {}, tuple(calls), unread)


def _arguments(call: ast.Call, group: str) -> Iterator[tuple[str, ast.expr]]:
    if call.args and group in POSITIONAL:
        yield POSITIONAL[group], call.args[0]
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg, keyword.value


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Names that the file gives one literal value at its top level, such as `max_seq_length = 2048`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                yield node.targets[0].id, ast.literal_eval(node.value)
            except (ValueError, TypeError, RecursionError):
                continue


def _literal(node: ast.expr, known: dict[str, Any]) -> Any:
    """The value of an argument that needs no running. Raises `ValueError`."""
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    try:
        return ast.literal_eval(node)
    except (TypeError, SyntaxError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}" if isinstance(node.value, ast.Name | ast.Attribute) else node.attr
    return node.id if isinstance(node, ast.Name) else ""
