"""What was taken out of an OpenAI account: a folder with JSON an object, contents beside it, and a manifest with every hash."""

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from luthier.errors import UserError

MANIFEST, NEXT_STEPS = "manifest.jsonl", "next-steps.sh"
CONTENT, FILE, JOB, EVENTS, CHECKPOINTS = "content", "file.json", "job.json", "events.jsonl", "checkpoints.json"
FOLDERS = {"file": "files", "job": "jobs", "eval": "evals", "run": "eval-runs", "completion": "completions"}
SHOWN = {"file": "files", "job": "jobs", "eval": "evals", "run": "runs of evals", "completion": "stored completions"}

Entry = dict[str, Any]


class ArchiveError(UserError):
    """A folder that cannot hold an archive."""


class Archive:
    """`folder`: made where it is not there. An object counts as taken once its line stands in the manifest, which is written last.

    Raises:
        ArchiveError: a folder with other things in it.
    """

    def __init__(self, folder: Path) -> None:
        if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise ArchiveError(
                f"{folder} holds other things already. Name a new folder with `--out`, or the one of an archive that was begun."
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._entries: dict[tuple[str, str], Entry] = {}
        self._read()

    @property
    def next_steps(self) -> Path:
        return self.folder / NEXT_STEPS

    def place(self, kind: str, id: str) -> Path:
        """The folder of one object. Ids come from elsewhere: what cannot be a name is replaced by its hash."""
        name = id if re.fullmatch(r"[A-Za-z0-9_-]{1,120}", id) else hashlib.sha256(id.encode()).hexdigest()[:32]
        return self.folder / FOLDERS[kind] / name

    def has(self, kind: str, id: str) -> Entry | None:
        """Its line of the manifest, where it was taken and is still there."""
        entry = self._entries.get((kind, id))
        if entry is None or any(not self._whole(part) for part in entry["parts"]):
            return None
        return entry

    def write(self, kind: str, id: str, name: str, value: Any) -> Entry:
        """One JSON file of an object; a list becomes lines. Returns its part of the manifest."""
        place = self.place(kind, id)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = (
            (json.dumps(one, ensure_ascii=False) for one in value)
            if isinstance(value, list)
            else (json.dumps(value, ensure_ascii=False, indent=1),)
        )
        data = "".join(f"{line}\n" for line in lines).encode()
        target, partial = place / name, place / f".{name}.partial"
        partial.write_bytes(data)
        partial.replace(target)
        return self.part(target, hashlib.sha256(data).hexdigest(), len(data))

    def part(self, path: Path, sha256: str, number: int) -> Entry:
        return {"path": str(path.relative_to(self.folder)), "sha256": sha256, "bytes": number}

    def note(self, kind: str, id: str, parts: Iterable[Entry], **more: Any) -> None:
        """It is taken, for good when this returns. `more`: `missing`, what of it is not handed out; `status`; `platform`, its id here."""
        entry = {
            "kind": kind,
            "id": id,
            "parts": list(parts),
            "at": round(time.time()),
            **{key: value for key, value in more.items() if value is not None},
        }
        with (self.folder / MANIFEST).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._entries[kind, id] = entry

    def read(self, kind: str, id: str, name: str) -> Any:
        """A JSON file of an object."""
        return json.loads((self.place(kind, id) / name).read_text(encoding="utf-8"))

    def entries(self, kind: str) -> Iterator[Entry]:
        return (entry for (of, _), entry in self._entries.items() if of == kind)

    def jobs(self) -> list[dict[str, Any]]:
        """Every fine-tuning job, the oldest first."""
        found = [self.read("job", entry["id"], JOB) for entry in self.entries("job")]
        return sorted(found, key=lambda job: (job.get("created_at") or 0, str(job.get("id"))))

    def counts(self) -> dict[str, int]:
        """How many of what were taken."""
        found = Counter(
            entry["kind"] for entry in self._entries.values() if entry["parts"] and (entry["kind"] != "file" or "content_bytes" in entry)
        )
        return {word: found[kind] for kind, word in SHOWN.items()}

    def bytes_of_files(self) -> int:
        return sum(entry.get("content_bytes", 0) for entry in self.entries("file"))

    def missing(self) -> list[dict[str, str]]:
        """What could not be taken, and why."""
        return [
            {"what": f"{entry['kind']} {entry['id']}".strip(), "why": str(entry["missing"])}
            for entry in self._entries.values()
            if entry.get("missing")
        ]

    def tuned_models(self) -> list[str]:
        """The names of what jobs made."""
        return [str(job["fine_tuned_model"]) for job in self.jobs() if job.get("fine_tuned_model")]

    def _whole(self, part: Entry) -> bool:
        """Its file is there, or its bytes are on the platform."""
        if part.get("moved"):
            return True
        path = self.folder / part["path"]
        return path.is_file() and bool(path.stat().st_size == part["bytes"])

    def _read(self) -> None:
        """The manifest; a last line that was cut off by a crash is as if it had not been written."""
        path = self.folder / MANIFEST
        if not path.exists():
            path.touch(mode=0o600)
            return
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = json.loads(line)
                self._entries[entry["kind"], entry["id"]] = entry
            except (ValueError, KeyError, TypeError):
                raise ArchiveError(f"{path}:{number} is no line of a manifest. Take the account into a new folder.") from None
        if whole != text:
            path.write_text(whole, encoding="utf-8")
