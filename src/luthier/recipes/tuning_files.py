"""A fine-tuning job's files, read line by line, with what is wrong in OpenAI's words.

What OpenAI refuses is looked for first; then what our own formats and checks find, in their sentences.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from luthier.data import files
from luthier.data.check import check
from luthier.data.formats import chat, preference, prompt_completion, tasks
from luthier.errors import DataError
from luthier.recipes.tuning_rows import Fault, Fields, chat_fault, completion_fault, preference_fault, task_fault
from luthier.spec.rows import Conversation, Origin, Preference, Task
from luthier.spec.tuning import FEWEST_EXAMPLES, TuningFile

Part = Literal["training", "validation"]

IMAGE = b'"image_url"'
MOST_TOLD = 10
"""Faults of a file that are told, besides the one that the job fails with."""

OF_METHOD = {"sft": "supervised", "dpo": "dpo", "grpo": "reinforcement"}
"""Our methods whose files are in OpenAI's formats."""
NEEDS = {"chat": "supervised", "preference": "dpo", "reinforcement": "reinforcement"}
"""The format of a file, and the method that it is for."""


@dataclass(frozen=True)
class FileLook:
    """`examples`: lines that are not blank. `faults`: the first few of `num_faults`. `skipped`: lines with images, which are left out."""

    file: TuningFile
    part: Part
    examples: int
    faults: tuple[Fault, ...] = ()
    num_faults: int = 0
    skipped: tuple[int, ...] = ()

    @property
    def error(self) -> dict[str, Any] | None:
        """What the job fails with: `code`, `message`, `param`."""
        param = f"{self.part}_file"
        if self.faults:
            fault = self.faults[0]
            kind = "a file format error in the" if fault.code == "invalid_file_format" else f"an invalid {self.part} file"
            reason = f"{kind} {self.part} file" if fault.code == "invalid_file_format" else kind
            code = fault.code if self.part == "training" else "invalid_validation_file"
            return {"code": code, "message": f"The job failed due to {reason}. Invalid file format. {fault.text}", "param": param}
        fewest = FEWEST_EXAMPLES if self.part == "training" else 1
        if self.examples < fewest:
            text = f"{self.part.capitalize()} file has {self.examples} example(s), but must have at least {fewest} examples"
            return {"code": "invalid_n_examples", "message": text, "param": param}
        return None

    def skips(self) -> Iterator[str]:
        """That rows with images were left out, as a sentence."""
        if self.skipped:
            lines = ", ".join(map(str, self.skipped[:MOST_TOLD])) + (", …" if len(self.skipped) > MOST_TOLD else "")
            number = "1 example has an image and was" if len(self.skipped) == 1 else f"{len(self.skipped):,} examples have images and were"
            yield f"{self.file.id}: {number} skipped, because this model learns text alone (line {lines})."

    def notes(self) -> Iterator[str]:
        """The faults after the first, as sentences with their lines."""
        for fault in self.faults[1:]:
            yield f"{self.file.id}, line {fault.line}: {fault.text}"
        if (more := self.num_faults - len(self.faults)) > 0:
            yield f"{self.file.id}: {more:,} more example{'s are' if more > 1 else ' is'} faulty."


def look(file: TuningFile, part: Part, method: str) -> FileLook:
    """Read a file to its end.

    Args:
        method: ours; of one that OpenAI has not, the lines need only be JSON objects, and the preflight says the rest.
    """
    examples, found, number_of_faults, skipped = 0, list[Fault](), 0, list[int]()
    faulty: Callable[[bytes, int, Origin], Fault | None] | None = None
    try:
        for number, line in files.lines(Path(file.path)):
            if not line or line.isspace():
                continue
            if method in OF_METHOD and has_image(line):
                skipped.append(number)
                continue
            examples += 1
            origin = Origin(file.id, number)
            if faulty is None:
                wrong, faulty = _first(line, file, method)
                if wrong is not None:
                    return FileLook(file, part, examples, (wrong,), 1)
            if fault := faulty(line, examples, origin):
                number_of_faults += 1
                if len(found) <= MOST_TOLD:
                    found.append(fault)
    except DataError as error:  # the file breaks off, or is no text
        found.append(Fault("invalid_training_file", _own(error, file.path, file.id), examples + 1))
        number_of_faults += 1
    return FileLook(file, part, examples, tuple(found), number_of_faults, tuple(skipped))


def without_images(file: Path, place: Path) -> None:
    """A copy of a file in which rows with images are blank lines, so that all others keep their numbers."""
    with place.open("wb") as out:
        for _, line in files.lines(file):
            out.write(b"\n" if has_image(line) else line.rstrip(b"\n") + b"\n")


def has_image(line: bytes) -> bool:
    """Whether somebody shows the assistant an image in this row."""
    if IMAGE not in line:
        return False
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    asked = fields.get("input", fields) if isinstance(fields, dict) else None
    turns = asked.get("messages") if isinstance(asked, dict) else None
    return isinstance(turns, list) and any(map(_shows_image, turns))


def _shows_image(turn: Any) -> bool:
    parts = turn.get("content") if isinstance(turn, dict) and turn.get("role") != "assistant" else None
    return isinstance(parts, list) and any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)


def _first(line: bytes, file: TuningFile, method: str) -> tuple[Fault | None, Callable[[bytes, int, Origin], Fault | None]]:
    """What is wrong with the whole file by its first line, and what looks for faults in each."""
    wanted = OF_METHOD.get(method)
    if wanted is None:
        return None, _of_ours
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = {}
    kind = _kind(fields) if isinstance(fields, dict) else None
    if wanted == "supervised" and kind == "reinforcement":
        kind = "chat"  # a conversation without an answer, which is said of each
    if kind is not None and NEEDS.get(kind, "supervised") != wanted:
        text = (
            f"Input file {file.id} is in the fine-tune-{'chat' if kind == 'completion' else kind} format, but the specified fine-tuning "
            f"job is not using '{NEEDS.get(kind, 'supervised')}' as the training method (provided method={wanted})."
        )
        return Fault("invalid_training_file", text, 1), _of_chat
    if kind is None and wanted == "supervised" and fields:
        text = "Unexpected file format, expected either prompt/completion pairs or chat messages."
        return Fault("invalid_training_file", text, 1), _of_chat
    lookers = {"completion": _of_completion, "preference": _of_preference, "reinforcement": _of_task}
    usual = {"supervised": "chat", "dpo": "preference", "reinforcement": "reinforcement"}[wanted]
    return None, lookers.get(kind or usual, _of_chat)


def _kind(fields: Fields) -> str | None:
    """The format of one row: chat, completion, preference, reinforcement; None for another."""
    if "messages" in fields:
        turns = fields["messages"]
        last = turns[-1] if isinstance(turns, list) and turns else None
        asks = isinstance(last, dict) and last.get("role") not in ("assistant", None)
        return "reinforcement" if asks else "chat"
    if "input" in fields or "preferred_output" in fields:
        return "preference"
    return "completion" if "prompt" in fields or "completion" in fields else None


# -- one line ---------------------------------------------------------------------------------------------------


class _Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The rows that most files consist of: nothing to be wrong with, but who speaks last."""

    messages: list[_Turn]


_decode_plain = msgspec.json.Decoder(_Plain).decode


def _is_plain(line: bytes) -> bool:
    try:
        turns = _decode_plain(line).messages
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # whether anything is wrong with it is found out the slower way
    tells = all(turn.role != "tool" and turn.content and not turn.content.isspace() for turn in turns)
    return bool(turns) and tells and turns[-1].role == "assistant"


def _of_chat(line: bytes, number: int, origin: Origin) -> Fault | None:
    if _is_plain(line):
        return None
    return _looked(line, number, origin, chat_fault, chat.row)


def _of_completion(line: bytes, number: int, origin: Origin) -> Fault | None:
    return _looked(line, number, origin, completion_fault, prompt_completion.row)


def _of_preference(line: bytes, number: int, origin: Origin) -> Fault | None:
    return _looked(line, number, origin, preference_fault, preference.row)


def _of_task(line: bytes, number: int, origin: Origin) -> Fault | None:
    return _looked(line, number, origin, task_fault, tasks.row)


def _of_ours(line: bytes, number: int, origin: Origin) -> Fault | None:
    return _looked(line, number, origin, _anything, None)


def _anything(fields: Fields, number: int, line: int) -> Fault | None:  # its format is looked at by the preflight
    return None


Look = Callable[[Fields, int, int], Fault | None]
Read = Callable[[dict[str, Any], Origin], Conversation | Preference | Task] | None


def _looked(line: bytes, number: int, origin: Origin, look: Look, read: Read) -> Fault | None:
    """The first fault of a line: of its JSON, of what OpenAI looks at, of what we do."""
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"Example {number} cannot be parsed. Error: line contains invalid json: {_json_error(line, error)} (line {origin.line})"
        return Fault("invalid_training_file", text, origin.line)
    if not isinstance(fields, dict):
        return Fault("invalid_training_file", f"Example {number} is not a JSON object.", origin.line)
    if fault := look(fields, number, origin.line):
        return fault
    if read is not None:
        try:
            check(read(fields, origin))
        except DataError as error:
            return Fault("invalid_training_file", f"Example {number}: {_own(error, str(origin))}", origin.line)
    return None


def _json_error(line: bytes, found: Exception) -> str:
    """As Python's decoder says it."""
    try:
        json.loads(line)
    except (ValueError, RecursionError) as error:
        return "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return str(found)


def _own(error: DataError, *places: str) -> str:
    """One of our sentences without the place that it begins with."""
    text = str(error)
    for place in places:
        text = text.removeprefix(f"{place}: ").removeprefix(place)
    return text[:1].upper() + text[1:]
