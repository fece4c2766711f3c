"""What was taken from OpenAI, into a project here: files under their old ids, and stored completions. Jobs stay an archive."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from luthier.store import garbage
from luthier.store.blobs import blobs_of
from luthier.store.database import now
from luthier.store.files import BadName, Files, refuse_filename
from luthier.store.home import Home
from luthier.store.ids import new
from luthier.store.stored import Stored
from luthier.store.tables import files, stored

FOLDER = "openai"
"""In the platform's folder: what is no file and no completion."""
ID = r"file-[A-Za-z0-9_-]{1,59}"
KIND = "chat.completion"
ASKED = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "tools", "tool_choice", "response_format")
BESIDES = (*ASKED, "metadata", "request_id", "input_user")
"""What OpenAI tells of a stored completion beside the completion itself."""


@dataclass(frozen=True)
class Arriving:
    """Where things arrive: a project's files and completions. `folder`: for the archive of the rest."""

    files: Files
    stored: Stored
    project: str
    folder: Path

    @classmethod
    def at(cls, home: Home, project: str) -> "Arriving":
        """`project`: an id."""
        return cls(Files(home.database, blobs_of(home)), Stored(home.database), project, home.folder / FOLDER / re.sub(r"\W", "_", project))

    def file(self, told: dict[str, Any], content: Path) -> str:
        """A file with its old id, name, purpose and date. Returns its id here: another one where that one is taken.

        Raises:
            StorageError: the bytes cannot be kept.
        """
        database, blobs = self.files.database, self.files.blobs
        blob = blobs.put_file(content)
        try:
            with database.write() as connection:
                id = str(told["id"]) if re.fullmatch(ID, str(told["id"])) else new("file-", 22)
                there = connection.execute(select(files).where(files.c.id == id)).first()
                if there is not None and (there.project, there.sha256) == (self.project, blob.sha256):
                    return id
                if there is not None:
                    id = new("file-", 22)
                garbage.keep(connection, blobs, [blob.sha256])
                row = {
                    "id": id,
                    "project": self.project,
                    "purpose": str(told.get("purpose") or "user_data"),
                    "filename": _filename(told),
                    "sha256": blob.sha256,
                    "bytes": blob.bytes,
                    "created_at": _date(told.get("created_at")),
                    "expires_at": None,
                }
                connection.execute(insert(files).values(row))
        except BaseException:
            garbage.release(database, blobs, [blob.sha256])
            raise
        return id

    def completion(self, told: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        """A stored completion, with what was asked; once, however often it comes."""
        id, database = str(told["id"]), self.stored.database
        request = {"model": told.get("model"), "messages": [{k: v for k, v in message.items() if k != "id"} for message in messages]}
        request |= {key: told[key] for key in ASKED if told.get(key) is not None}
        with database.write() as connection:
            if connection.execute(select(stored.c.id).where(stored.c.id == id)).first() is not None:
                return
            row = {
                "id": id,
                "project": self.project,
                "kind": KIND,
                "model": str(told.get("model")),
                "metadata": told.get("metadata") or None,
                "request": request,
                "body": {key: value for key, value in told.items() if key not in BESIDES},
                "request_id": str(told.get("request_id") or id),
                "created_at": _date(told.get("created")),
            }
            connection.execute(insert(stored).values(row))


def _filename(told: dict[str, Any]) -> str:
    name = str(told.get("filename") or "")
    try:
        refuse_filename(name)
    except BadName:
        return f"{told['id']}.jsonl"
    return name


def _date(seconds: Any) -> Any:
    """Seconds since the epoch; now where nobody says."""
    return float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else now()
