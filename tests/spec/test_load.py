"""Settings from a file, the command line and Python: what wins, and what a wrong one is told."""

import ast
from pathlib import Path

import pytest

from luthier.errors import SettingsError
from luthier.spec.base import Component
from luthier.spec.faults import OTHER_NAMES
from luthier.spec.load import load_run, to_yaml
from luthier.spec.run import DataSource, ModelSpec, RunSpec
from luthier.spec.schema import component_settings
from luthier.spec.settings import table


def run_file(folder: Path, text: str) -> str:
    file = folder / "run.yaml"
    file.write_text(text)
    return str(file)


def faults(folder: Path, text: str = "", *overrides: str) -> list[str]:
    """The sentences for a run file and overrides, the folder's name left out."""
    with pytest.raises(SettingsError) as error:
        load_run(run_file(folder, text), overrides)
    return str(error.value).replace(f"{folder}/", "").split("\n")


def test_nothing_given_is_all_defaults() -> None:
    assert load_run(None) == RunSpec()


def test_a_file_is_read_and_key_value_stands_over_it(tmp_path: Path) -> None:
    path = run_file(tmp_path, "model: starter\ntrain: {epochs: 3, batch_size: 4}\nadapter: {name: lora, rank: 4}\n")
    spec = load_run(path, ["train.epochs=5", "adapter.alpha=8", "optimizer.learning_rate=1e-4"])
    assert (spec.train.epochs, spec.train.batch_size) == (5, 4)
    assert spec.optimizer.learning_rate == 1e-4
    assert spec.adapter == Component(name="lora", rank=4, alpha=8)


def test_python_stands_between_the_file_and_key_value(tmp_path: Path) -> None:
    path = run_file(tmp_path, "model: a\ntrain: {epochs: 1, seed: 1}\nout: x\n")
    given = {"model": Path("b"), "train": {"epochs": 2}, "out": None, "train.threads": 2}
    spec = load_run(path, ["train.seed=3"], **given)
    assert spec.model.path == "b"
    assert (spec.train.epochs, spec.train.seed, spec.train.threads) == (2, 3, 2)
    assert spec.out == "x"  # None means not given


def test_specs_given_from_python_can_be_overridden() -> None:
    spec = load_run(None, ["adapter.rank=2", "model.revision=main"], adapter=Component(name="lora", alpha=4), model=ModelSpec(path="a/b"))
    assert spec.adapter == Component(name="lora", alpha=4, rank=2)
    assert (spec.model.path, spec.model.revision) == ("a/b", "main")


@pytest.mark.parametrize("data", ["a.jsonl", ["a.jsonl"], Path("a.jsonl"), {"train": "a.jsonl"}, {"train": {"path": "a.jsonl"}}])
def test_data_may_be_a_path_alone(data: object) -> None:
    assert load_run(None, data=data).data.train == (DataSource(path="a.jsonl"),)


def test_lists_and_their_elements_can_be_set() -> None:
    spec = load_run(None, ["data.train=[a.jsonl, b.jsonl]", "data.train[1].weight=2", "data.train.0.format=chat", "evaluation.prompts=[]"])
    assert spec.data.train == (DataSource(path="a.jsonl", format="chat"), DataSource(path="b.jsonl", weight=2))
    assert spec.evaluation.prompts == ()


@pytest.mark.parametrize(
    "text, value",
    [("1e-4", 1e-4), ("3", 3), ("true", True), ("no", "no"), ("", None), ("a: b", "a: b"), ('"3"', "3"), ("[1, a]", [1, "a"])],
)
def test_a_value_on_the_command_line_is_a_word_a_number_or_a_list(text: str, value: object) -> None:
    assert load_run(None, [f"method.x={text}"]).method.settings == {"x": value}


def test_another_component_drops_the_settings_of_the_one_before(tmp_path: Path) -> None:
    path = run_file(tmp_path, "adapter: {name: lora, rank: 4}\n")
    assert load_run(path, ["adapter=full"]).adapter == Component(name="full")
    assert load_run(path, ["adapter=lora"]).adapter == Component(name="lora", rank=4)


def test_settings_without_a_name_belong_to_the_default_component() -> None:
    assert load_run(None, ["adapter.rank=8"]).adapter == Component(name="lora", rank=8)


def test_a_group_with_nothing_in_it_is_as_good_as_none(tmp_path: Path) -> None:
    assert load_run(run_file(tmp_path, "train:\n  # epochs: 3\n")) == RunSpec()


def test_a_dotted_key_works_in_a_file_too(tmp_path: Path) -> None:
    assert load_run(run_file(tmp_path, "train.epochs: 3\n")).train.epochs == 3


def test_each_fault_is_a_sentence_with_its_line(tmp_path: Path) -> None:
    text = (
        "data:\n  train: [a.jsonl, {path: b.jsonl, weigth: 2}]\noptimizer:\n  learning_rate: -1\n  schedule: cosin\ntrain:\n  epochs: 0\n"
    )
    assert faults(tmp_path, text) == [
        "run.yaml:2: `data.train[1].weigth` is not a setting. Did you mean `data.train[1].weight`?",
        "run.yaml:4: `optimizer.learning_rate` is -1. It must be a number above 0 and at most 1, or null.",
        'run.yaml:5: `optimizer.schedule` is "cosin". It must be `cosine`, `linear` or `constant`. Did you mean `cosine`?',
        "run.yaml:7: `train.epochs` is 0. It must be a whole number, at least 1.",
    ]


def test_a_fault_of_an_override_is_told_by_the_override(tmp_path: Path) -> None:
    assert faults(tmp_path, "train: {epochs: 2}\n", "train.epochs=0") == [
        "`train.epochs=0`: `train.epochs` is 0. It must be a whole number, at least 1."
    ]
    assert faults(tmp_path, "train: {epochs: 2}\n", "train={epochs: 1.5}")[0].startswith("`train={epochs: 1.5}`: `train.epochs` is 1.5.")


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("rank=8", "`rank` is not a setting. Did you mean `adapter.rank`?"),
        ("train.rank=8", "`train.rank` is not a setting. Did you mean `adapter.rank`?"),
        ("every=8", "Did you mean `evaluation.every` or `checkpoints.every`?"),
        ("lr=1", "Did you mean `optimizer.learning_rate`?"),
        ("lora_r=1", "Did you mean `adapter.rank`?"),
        ("num_train_epochs=1", "Did you mean `train.epochs`?"),
        ("learing_rate=1", "Did you mean `optimizer.learning_rate`?"),
        ("optimizer.learnign_rate=1", "Did you mean `optimizer.learning_rate`?"),
        ("trian.epochs=1", "`trian` is not a setting. Did you mean `train`?"),
        ("zzz=1", "`zzz` is not a setting. The reference page lists all of them."),
        ("train=x", '`train` is "x". It must be a group of settings (epochs, max_steps, '),
        ("optimizer.weight_decay=.inf", "`optimizer.weight_decay` is Infinity. It must be a number, at least 0."),
        ("optimizer.learning_rate=.nan", "`optimizer.learning_rate` is NaN."),
        ("evaluation.prompts=[1]", "`evaluation.prompts[0]` is 1. `evaluation.prompts` must be a list of texts, at most 16 of them."),
        ("data.train=[{weight: 1}]", "`data.train[0].path` is missing. It must be text."),
        ("train.dtype=float16", "It must be `auto`, `float32` or `bfloat16`. Did you mean `bfloat16`?"),
        ("method=3", "`method` is 3. It must be a name, or a group of `name` and its settings."),
    ],
)
def test_wrong_settings_are_told_what_is_right(tmp_path: Path, override: str, sentence: str) -> None:
    assert sentence in faults(tmp_path, "", override)[0]


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (["train.epochs"], "`train.epochs` is not of the form `key=value`, such as `train.epochs=2`."),
        (["=3"], "`=3` is not of the form"),
        (["out=[a"], "is not valid YAML"),
        (["data.train=[a]", "data.train[3].weight=2"], "`data.train[3].weight` names element 3, counted from 0, of a list that has 1."),
        (["train=3", "train.epochs=2"], "`train.epochs` is one setting of a group, but the group was given as 3."),
    ],
)
def test_overrides_that_make_no_sense_are_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_run(None, overrides)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "text, sentence",
    [
        (
            "train: {epochs: 1}\ntrain: {seed: 2}\n",
            "run.yaml:2: `train` stands here a second time (first in line 1). Remove one of the two.",
        ),
        ("train:\n  epochs: 1\n  epochs: 2\n", "run.yaml:3: `train.epochs` stands here a second time (first in line 2)."),
        ("a: [", "run.yaml:1: this is not valid YAML"),
        ("a: &a [*a]", "run.yaml: a value contains itself."),
        ("? [a]\n: b", "run.yaml:1: a key must be one word."),
        ("- 1", "run.yaml: a run file holds keys and values, such as `model: starter`. This one holds [1]."),
        ('a: "\x07"', "run.yaml: this is not valid YAML: special characters are not allowed."),
        ("a: !!python/object/apply:os.getcwd []", "`a` is not a setting."),
    ],
)
def test_files_that_are_no_run_file_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in faults(tmp_path, text)[0]


def test_a_missing_run_file_is_refused_with_the_nearest(tmp_path: Path) -> None:
    run_file(tmp_path, "")
    with pytest.raises(SettingsError, match=r"There is no run file .*/rnu\.yaml\. Did you mean `.*/run\.yaml`\?"):
        load_run(str(tmp_path / "rnu.yaml"))
    with pytest.raises(SettingsError, match="is a folder"):
        load_run(str(tmp_path))
    with pytest.raises(SettingsError, match="There is no run file"):
        load_run("no/such/folder/run.yaml")


def test_a_run_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes("out: ü".encode("latin-1"))
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        load_run(str(tmp_path / "run.yaml"))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [
            "out=2026-11-20",
            "model.revision=0x1f",
            "evaluation.prompts=['yes', 'no', '1e5', '~', 'a: b', 'ü\\n']",
            "optimizer.epsilon=1e-12",
        ],
        ["data.train=[{path: a.jsonl, weight: 0.5}]", "adapter={name: lora, rank: 4, targets: [q_proj]}", "optimizer.max_grad_norm=null"],
    ],
)
def test_what_is_written_out_loads_to_the_same_run(tmp_path: Path, overrides: list[str]) -> None:
    spec = load_run(None, overrides)
    assert load_run(run_file(tmp_path, to_yaml(spec))) == spec


def test_words_of_other_tools_lead_to_settings_that_exist() -> None:
    known = {**table(RunSpec.model_json_schema()), **component_settings("adapter", "lora")}
    assert set(OTHER_NAMES.values()) <= set(known)
    assert not set(OTHER_NAMES) & {key.rpartition(".")[2] for key in known}


def test_this_room_imports_no_torch(root: Path) -> None:
    for file in (root / "src" / "luthier" / "spec").glob("*.py"):
        imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("torch" in ast.unparse(node) for node in imports)
