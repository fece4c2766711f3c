"""Files that come in parts: declared, sent part by part in any order, joined, and checked. What is not completed within an hour is gone."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, func, insert, select, update

from luthier.errors import UserError
from luthier.store import garbage
from luthier.store.blobs import Blob, BlobGone, Blobs
from luthier.store.database import Database, now
from luthier.store.files import File, Files, insert_file, refuse_filename
from luthier.store.ids import new
from luthier.store.tables import upload_parts, uploads

MOST_BYTES = 8 * 10**9
"""Of a file that comes in parts."""
MOST_PART_BYTES = 64 * 2**20
"""Of one part: what OpenAI's client sends by default."""
LASTS_S = 3600
"""From the beginning of an upload to its end."""


class UploadNotFound(UserError):
    """No upload of this project has this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"No such Upload object: {id}")


class UploadRefused(UserError):
    """What an upload cannot do as it is. `param`: which argument is at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class Upload:
    """`bytes`: as declared. `status`: pending, completed, cancelled, expired. `file`: the id of what it became."""

    id: str
    project: str
    purpose: str
    filename: str
    mime_type: str
    bytes: int
    status: str
    file: str | None
    created_at: float
    expires_at: float
    file_expires_after_s: int | None = None


@dataclass(frozen=True)
class Part:
    id: str
    upload: str
    sha256: str
    bytes: int
    created_at: float


class Uploads:
    """All uploads of a database whose tables are up to date."""

    def __init__(self, database: Database, blobs: Blobs, files: Files, lasts_s: float = LASTS_S) -> None:
        self.database, self.blobs, self.files, self.lasts_s = database, blobs, files, lasts_s

    def create(self, project: str, filename: str, purpose: str, mime_type: str, bytes: int, expires_after_s: int | None = None) -> Upload:
        """Begin one. Raises `BadName`, or `UploadRefused` for more bytes than are taken."""
        refuse_filename(filename)
        if not 1 <= bytes <= MOST_BYTES:
            raise UploadRefused(f"An upload has from 1 to {MOST_BYTES:,} bytes; {bytes:,} were declared.", "bytes")
        with self.database.write() as connection:
            created_at: float = connection.execute(select(now())).scalar_one()
            upload = Upload(
                id=new("upload_"),
                project=project,
                purpose=purpose,
                filename=filename,
                mime_type=mime_type,
                bytes=bytes,
                status="pending",
                file=None,
                created_at=created_at,
                expires_at=created_at + self.lasts_s,
                file_expires_after_s=expires_after_s,
            )
            connection.execute(insert(uploads).values(**vars(upload)))
        return upload

    def get(self, project: str, id: str) -> Upload:
        """Raises `UploadNotFound`."""
        with self.database.read() as connection:
            return _get(connection, project, id)

    def add_part(self, project: str, id: str, blob: Blob) -> Part:
        """A part of it, of bytes that were just put.

        Raises:
            UploadNotFound. UploadRefused: it takes no parts any more, or these are far more bytes than it declared.
        """
        try:
            with self.database.write() as connection:
                upload = _get(connection, project, id, lock=True)
                _refuse_ended(upload, "takes no more parts")
                held = connection.execute(select(func.sum(upload_parts.c.bytes)).where(upload_parts.c.upload == id)).scalar() or 0
                if held + blob.bytes > 2 * upload.bytes + MOST_PART_BYTES:  # a part may have been sent twice, but not without end
                    raise UploadRefused(f"Upload {id} declared {upload.bytes:,} bytes, and holds {held:,} already.", "data")
                garbage.keep(connection, self.blobs, [blob.sha256])
                at: float = connection.execute(select(now())).scalar_one()
                part = Part(new("part_"), id, blob.sha256, blob.bytes, at)
                connection.execute(insert(upload_parts).values(**vars(part)))
                return part
        except BaseException:
            garbage.release(self.database, self.blobs, [blob.sha256])
            raise

    def complete(self, project: str, id: str, part_ids: Sequence[str], md5: str | None = None) -> tuple[Upload, File]:
        """Join parts, in the order given, into a file. Asked again, it tells the file that it became.

        Args:
            md5: hexadecimal digits of the whole, to check against.
        Raises:
            UploadNotFound. UploadRefused: it has ended; a part that is not its own; other bytes than declared. StorageError.
        """
        upload = self.get(project, id)
        if upload.status == "completed" and upload.file is not None:
            return upload, self.files.find(project, upload.file)
        _refuse_ended(upload, "cannot be completed")
        try:
            whole = self._joined(upload, self._chosen(upload, part_ids), md5)
        except (UploadRefused, BlobGone):
            if self.get(project, id).status == "completed":  # by another request meanwhile, which has taken the parts away
                return self.complete(project, id, part_ids, md5)
            raise
        left = [whole.sha256]
        try:
            with self.database.write() as connection:
                still_pending = _get(connection, project, id, lock=True).status == "pending"
                if still_pending:
                    name, purpose, expires = upload.filename, upload.purpose, upload.file_expires_after_s
                    file = insert_file(connection, self.blobs, project, name, purpose, whole, expires)
                    connection.execute(update(uploads).where(uploads.c.id == id).values(status="completed", file=file.id))
                    left += _forget_parts(connection, [id])
        finally:
            garbage.release(self.database, self.blobs, left)
        if still_pending:
            return replace(upload, status="completed", file=file.id), file
        return self.complete(project, id, part_ids, md5)  # which tells what another request has made of it meanwhile

    def cancel(self, project: str, id: str) -> Upload:
        """End it, and forget its parts. Raises `UploadNotFound`, or `UploadRefused` for one that is completed or expired."""
        with self.database.write() as connection:
            upload = _get(connection, project, id, lock=True)
            if upload.status == "cancelled":
                return upload
            _refuse_ended(upload, "cannot be cancelled")
            connection.execute(update(uploads).where(uploads.c.id == id).values(status="cancelled"))
            parts = _forget_parts(connection, [id])
        garbage.release(self.database, self.blobs, parts)
        return replace(upload, status="cancelled")

    def sweep(self) -> None:
        """End those that have expired, and forget their parts."""
        with self.database.write() as connection:
            late = connection.execute(select(uploads.c.id).where(uploads.c.status == "pending", uploads.c.expires_at <= now()))
            ids = list(late.scalars())
            connection.execute(update(uploads).where(uploads.c.id.in_(ids)).values(status="expired"))
            parts = _forget_parts(connection, ids)
        garbage.release(self.database, self.blobs, parts)

    def _chosen(self, upload: Upload, part_ids: Sequence[str]) -> list[Part]:
        """The parts by these ids, in this order. Raises `UploadRefused`."""
        with self.database.read() as connection:
            rows = connection.execute(select(upload_parts).where(upload_parts.c.upload == upload.id))
            there = {row.id: Part(**row._mapping) for row in rows}
        for number, part in enumerate(part_ids):
            if part not in there:
                raise UploadRefused(f"Upload {upload.id} has no part {part}.", f"part_ids.{number}")
        if len(set(part_ids)) < len(part_ids):
            raise UploadRefused("A part is named twice.", "part_ids")
        chosen = [there[part] for part in part_ids]
        held = sum(part.bytes for part in chosen)
        if held != upload.bytes:
            raise UploadRefused(f"The parts hold {held:,} bytes together, but the upload declared {upload.bytes:,}.", "part_ids")
        return chosen

    def _joined(self, upload: Upload, parts: Sequence[Part], md5: str | None) -> Blob:
        """Their bytes as one. Raises `UploadRefused` where its MD5 is another one, and `StorageError`."""
        if len(parts) == 1 and md5 is None:
            return Blob(parts[0].sha256, parts[0].bytes)
        check = hashlib.md5(usedforsecurity=False)

        def checked() -> Iterator[bytes]:
            for part in parts:
                for chunk in self.blobs.open(part.sha256):
                    if md5 is not None:
                        check.update(chunk)
                    yield chunk

        with self.blobs.begin(upload.bytes) as incoming:
            for chunk in checked():
                incoming.write(chunk)
            if md5 is not None and check.hexdigest() != md5.strip().lower():
                raise UploadRefused(f"The MD5 of the parts joined is {check.hexdigest()}, not {md5}.", "md5")
            return incoming.finish()


def _get(connection: Connection, project: str, id: str, lock: bool = False) -> Upload:
    """Raises `UploadNotFound`. What is late counts as expired, before a sweep says so."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id):
        raise UploadNotFound(id)
    wanted = select(uploads, (uploads.c.expires_at <= now()).label("late")).where(uploads.c.id == id, uploads.c.project == project)
    row = connection.execute(wanted.with_for_update() if lock else wanted).first()
    if row is None:
        raise UploadNotFound(id)
    told = dict(row._mapping)
    late = told.pop("late")
    return Upload(**told | ({"status": "expired"} if late and row.status == "pending" else {}))


def _refuse_ended(upload: Upload, what: str) -> None:
    if upload.status != "pending":
        raise UploadRefused(f"Upload {upload.id} is {upload.status} and {what}.")


def _forget_parts(connection: Connection, ids: Iterable[str]) -> list[str]:
    """Delete the parts of these uploads. Returns the hashes of their bytes, which may be somebody else's, too."""
    of_them = upload_parts.c.upload.in_(list(ids))
    hashes = list(connection.execute(select(upload_parts.c.sha256).where(of_them)).scalars())
    connection.execute(delete(upload_parts).where(of_them))
    return hashes
