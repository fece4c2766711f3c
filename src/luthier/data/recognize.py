"""Which format a data file has: the one given, or the one that its first rows fit best."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from luthier.data import files, json_values, jsonl
from luthier.data.records import Container
from luthier.data.sample import Sample, sample
from luthier.errors import DataError
from luthier.spec import folder
from luthier.spec.nearest import did_you_mean, listed
from luthier.spec.rows import Origin
from luthier.spec.run import DataSource

FORMATS = "luthier.data.formats"

CHOICES = (
    "They are questions with choices: write the question with its choices as `prompt` and the right one as `completion`, "
    "or its text as `text` and the class as `label`."
)

REMEDIES = {
    "choice1": CHOICES,
    "ans0": CHOICES,
    "sent_more": "They are pairs of sentences that an audit compares, and nothing to learn from.",
    "prompt": "They are prompts without an answer: add a `completion`, or answer them with `luthier generate`.",
    "QUESTION": "Write the question (with its context) as `prompt` and the answer as `completion`.",
}
"""What to do about rows that people have, by a field that gives them away."""

TABLE = (
    "It is a table of measurements without a text to learn from. Write what each row says in words as `text`, "
    "and what is to be predicted as `label`."
)


OTHERWISE = "Rename its columns to those of a format, or read it with a file of your own (`format: ./mine.py`)."


@dataclass(frozen=True)
class Recognized:
    """How a file is read. `mapping` says what becomes of its fields, for people; `automatic` whether it was recognized or given."""

    format: str
    mapping: str
    automatic: bool
    module: ModuleType
    container: Container = "jsonl"
    parts: tuple[str, ...] = ()
    """The names of the file's arrays, where it is a JSON object of several."""

    def __str__(self) -> str:
        return f"{self.format}{' (recognized)' if self.automatic else ''}" + (f": {self.mapping}" if self.mapping else "")


def recognize(source: DataSource) -> Recognized:
    """The format of a file.

    Raises:
        DataError: no format fits, or several do equally; an empty, binary or missing file.
        SettingsError: an unknown format.
    """
    path = files.existing(source.path)
    beginning = sample(path)
    if source.split is not None:
        beginning = _part(beginning, source, source.split)
    if not beginning.num:
        raise DataError(f"{source.path} is empty. Give a file with at least one row.")
    automatic = source.format == "auto"
    name = _fitting(beginning, source.path) if automatic else source.format
    module = folder.load(FORMATS, name)
    describe = getattr(module, "mapping", None)
    mapping = _described(describe(beginning), beginning) if describe else ""
    return Recognized(name, mapping, automatic, module, beginning.container, beginning.parts)


def _part(whole: Sample, source: DataSource, split: str) -> Sample:
    """The beginning of one part of a file."""
    part = sample(Path(source.path), split)
    if whole.parts and split not in whole.parts:
        raise DataError(f"{source.path} has no part `{split}`.{did_you_mean(split, whole.parts)} It has {listed(whole.parts, 'and')}.")
    if not whole.share(json_values.SPLIT):
        raise DataError(f"{source.path} is not in parts, so `split: {split}` has no effect. Remove it, or give the rows a field `split`.")
    if not part.num:
        raise DataError(f"{source.path} has no row whose `split` is {split}. Give another, or leave it out to read all rows.")
    return part


def _described(mapping: str, beginning: Sample) -> str:
    return (
        f"{mapping} (there is no header: the columns are taken for {listed(beginning.columns(), 'and')})" if beginning.unnamed else mapping
    )


def _scores(beginning: Sample) -> dict[str, float]:
    return {name: folder.load(FORMATS, name).sniff(beginning) for name in folder.names(FORMATS)}


def _fitting(beginning: Sample, path: str) -> str:
    scores = _scores(beginning)
    best = max(scores.values())
    if best < 0.5:
        raise DataError(_unrecognized(beginning, path))
    fitting = [name for name, score in scores.items() if score == best]
    if len(fitting) > 1:
        if best < 1:
            raise DataError(
                f"{path} holds rows of the formats {listed(fitting, 'and')}. All rows of a file have one format: give each a file."
            )
        raise DataError(f"{path} fits the formats {listed(fitting, 'and')}. Say which: `{{path: {path}, format: {fitting[0]}}}`.")
    return fitting[0]


def _unrecognized(beginning: Sample, path: str) -> str:
    """What the file looks like instead, and what to do."""
    known = f"Known formats: {'; '.join(f'`{name}` ({folder.load(FORMATS, name).DESCRIPTION})' for name in folder.names(FORMATS))}."
    if not beginning.objects:
        if beginning.container == "jsonl":
            jsonl.fields(beginning.lines[0].encode(), Origin(path, 1))
        first = jsonl.shown(beginning.lines[0])
        remedy = "Raw text in a file not named `.txt` is read with `format: text`."
        return f"{path} is not in a format that can be read: its first line is {first}. {remedy} {known}"
    keys = beginning.columns()
    remedy = next((REMEDIES[key] for key in REMEDIES if key in keys), TABLE if _is_table(beginning) else OTHERWISE)
    if max(_scores(_in_lower_case(beginning)).values()) >= 0.5:
        remedy = "Write the names of its columns in lower case."
    has = (listed(keys[:8], "and") or "no fields") + (" …" if len(keys) > 8 else "")
    return f"{path} is not in a format that can be read: its rows have {has}. {remedy} {known}"


def _in_lower_case(beginning: Sample) -> Sample:
    return replace(beginning, objects=tuple({key.lower(): value for key, value in row.items()} for row in beginning.objects))


def _is_table(beginning: Sample) -> bool:
    """Whether no value is longer than a few words."""
    return all(len(str(value)) <= 40 for row in beginning.objects for value in row.values())
