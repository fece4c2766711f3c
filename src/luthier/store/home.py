"""Where the platform keeps what it has: one folder, and a database that lies in it unless another one is named."""

import os
import secrets
from pathlib import Path

from luthier.store.database import Database
from luthier.store.migrate import migrate

VARIABLE, DATABASE_VARIABLE, SECRET_VARIABLE = "LUTHIER_HOME", "LUTHIER_DATABASE", "LUTHIER_SECRET"


class Home:
    """`folder`: given, or that of the variable LUTHIER_HOME, or ~/.luthier. `database`: its URL, or that of LUTHIER_DATABASE, or a file.

    Opening it makes the folder, readable for its owner alone, and brings the database's tables up to date.

    Raises:
        DatabaseError: a database that cannot be opened, or of a newer version.
    """

    def __init__(self, folder: str | None = None, database: str | None = None) -> None:
        self.folder = Path(folder or os.environ.get(VARIABLE) or "~/.luthier").expanduser().absolute()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.database = Database(database or os.environ.get(DATABASE_VARIABLE) or f"sqlite:///{self.folder / 'luthier.db'}")
        self.copied = migrate(self.database)
        """The copy of the database, where its tables were changed just now."""

    @property
    def jobs(self) -> Path:
        """Folders of jobs."""
        return self.folder / "jobs"

    @property
    def secret(self) -> bytes:
        """What keys are hashed with: LUTHIER_SECRET, for several machines; or a file here, made when it is first asked for."""
        if told := os.environ.get(SECRET_VARIABLE):
            return told.encode()
        file = self.folder / "secret"
        if not file.exists():
            partial = self.folder / f".secret.{secrets.token_hex(4)}"
            with open(partial, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as written:
                written.write(secrets.token_urlsafe(32))
                written.flush()
                os.fsync(written.fileno())
            try:
                file.hardlink_to(partial)  # unless another process was quicker: then that one's counts
            except FileExistsError:
                return file.read_bytes()
            finally:
                partial.unlink()
        return file.read_bytes()
