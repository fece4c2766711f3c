"""Which models there are by which name: bases on this machine, other names for them, and what was tuned from them here."""

import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select

from luthier.errors import ModelError, UserError
from luthier.spec.run import ModelSpec
from luthier.store import garbage
from luthier.store.blobs import Blobs
from luthier.store.database import Database, now
from luthier.store.sharing import usable_by
from luthier.store.tables import aliases, bases, models
from luthier.text.folder import local_folder

STARTER = "starter"
MOST_ALIASES = 8
"""One name may stand for another one, which stands for another one; so many times at most."""


class ModelNotFound(UserError):
    """No model has this name, for this project."""


@dataclass(frozen=True)
class Model:
    """A model by its own name, aliases followed.

    `base`: the folder of its base. `weights`: {file: sha256} of what was tuned, none for a base itself; `kind`: adapter, or model where
    they are whole. `project`: whose it is; none for a base, which is everybody's. `lineage`: what it was made from.
    """

    name: str
    base: str
    created_at: float
    project: str | None = None
    job: str | None = None
    kind: str = "base"
    weights: Mapping[str, str] | None = None
    lineage: Mapping[str, Any] | None = None


class Models:
    """All models of a database whose tables are up to date. `folder`: where tuned models are laid out to be loaded."""

    def __init__(self, database: Database, blobs: Blobs, folder: Path) -> None:
        self.database, self.blobs, self.folder = database, blobs, folder

    def find(self, name: str, project: str) -> Model:
        """The model that `name` stands for: a base, a tuned model of this project or shared with it, or an alias of one.

        Raises:
            ModelNotFound: none does.
        """
        with self.database.read() as connection:
            wanted = name
            for _ in range(MOST_ALIASES):
                tuned = connection.execute(select(models).where(models.c.name == wanted, usable_by(project))).first()
                if tuned is not None:
                    return Model(**tuned._mapping)
                base = connection.execute(select(bases).where(bases.c.name == wanted)).first()
                if base is not None:
                    return Model(base.name, base.folder, base.created_at)
                if wanted == STARTER:
                    return _starter()
                target = connection.execute(select(aliases.c.target).where(aliases.c.name == wanted)).scalar()
                if target is None:
                    break
                wanted = target
        raise ModelNotFound(f"The model '{name}' does not exist")

    def of(self, project: str) -> list[Model]:
        """Every model that a project can use, bases first, each by its own name."""
        with self.database.read() as connection:
            found = [Model(row.name, row.folder, row.created_at) for row in connection.execute(select(bases).order_by(bases.c.name))]
            tuned = connection.execute(select(models).where(usable_by(project)).order_by(models.c.created_at, models.c.name))
            return [*([] if any(m.name == STARTER for m in found) else [_starter()]), *found, *(Model(**row._mapping) for row in tuned)]

    def aliases(self) -> dict[str, str]:
        """Other names, and what they stand for."""
        with self.database.read() as connection:
            return {row.name: row.target for row in connection.execute(select(aliases).order_by(aliases.c.name))}

    def add_base(self, path: str, name: str | None = None) -> Model:
        """Make a model on this machine a base that can be tuned and asked.

        Args:
            path: a folder, or the id of a model in Hugging Face's cache. name: by default the id's or folder's last part, without capitals.

        Raises:
            ModelNotFound: it is not on this machine. UserError: a name that is taken by another model, or that cannot be one.
        """
        try:
            folder = str(local_folder(ModelSpec(path=path)).absolute())
        except ModelError as error:  # it names the setting of a run, which nobody wrote here
            raise ModelNotFound(str(error).removeprefix("`model.path`: ")) from error
        name = name or public_name(path)
        refuse_name(name)
        with self.database.write() as connection:
            there = connection.execute(select(bases).where(bases.c.name == name)).first()
            if there is not None and there.folder != folder:
                raise UserError(f"The name {name} is that of {there.folder} already. Give this one another with --name.")
            if there is None:
                connection.execute(insert(bases).values(name=name, folder=folder, created_at=now()))
            row = connection.execute(select(bases).where(bases.c.name == name)).one()
        return Model(row.name, row.folder, row.created_at)

    def remove_base(self, name: str) -> None:
        """Forget a base; its files stay. Raises `ModelNotFound` where there is none."""
        with self.database.write() as connection:
            if not connection.execute(delete(bases).where(bases.c.name == name)).rowcount:
                raise ModelNotFound(f"The base '{name}' does not exist")

    def set_alias(self, name: str, target: str) -> None:
        """Let `name` stand for `target`, instead of what it stood for."""
        refuse_name(name)
        with self.database.write() as connection:
            taken = [t for t in (bases, models) if connection.execute(select(t.c.name).where(t.c.name == name)).first()]
            if taken or name == STARTER:
                raise UserError(f"{name} is the name of a model here; an alias needs another one.")
            if name == target:
                raise UserError(f"{name} cannot stand for itself.")
            connection.execute(delete(aliases).where(aliases.c.name == name))
            connection.execute(insert(aliases).values(name=name, target=target, created_at=now()))

    def remove_alias(self, name: str) -> None:
        """Raises `ModelNotFound` where there is none."""
        with self.database.write() as connection:
            if not connection.execute(delete(aliases).where(aliases.c.name == name)).rowcount:
                raise ModelNotFound(f"The alias '{name}' does not exist")

    def remove(self, name: str, project: str) -> None:
        """Delete a tuned model, and its weights where no other has the same. Raises `ModelNotFound` where the project has none such."""
        with self.database.write() as connection:
            row = connection.execute(select(models).where(models.c.name == name, models.c.project == project)).first()
            if row is None:
                raise ModelNotFound(f"The model '{name}' does not exist")
            connection.execute(delete(models).where(models.c.name == name))
        model = Model(**row._mapping)
        shutil.rmtree(self._place(model), ignore_errors=True)
        garbage.release(self.database, self.blobs, (model.weights or {}).values())

    def laid_out(self, model: Model) -> Path | None:
        """The folder that holds a tuned model's weights, made where it is not there yet; None for a base."""
        if model.weights is None:
            return None
        folder = self._place(model)
        if not folder.is_dir():
            partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
            partial.mkdir(parents=True)
            for file, sha256 in model.weights.items():
                _link(self.blobs.path(sha256), partial / file)
            try:
                partial.rename(folder)
            except OSError:  # another process was quicker
                shutil.rmtree(partial)
        return folder

    def _place(self, model: Model) -> Path:
        key = re.sub(r"[^A-Za-z0-9]+", "-", model.name).strip("-")
        return self.folder / f"{key}-{int(model.created_at)}"


def tuned_row(model: Model) -> dict[str, Any]:
    """A tuned model as a row of its table, at the time it has."""
    return {
        "name": model.name,
        "project": model.project,
        "job": model.job,
        "base": model.base,
        "kind": model.kind,
        "weights": dict(model.weights or {}),
        "lineage": dict(model.lineage or {}),
        "created_at": model.created_at,
    }


def public_name(path: str) -> str:
    """A name without slashes, which some clients escape and some do not: `Qwen/Qwen3-0.6B` is `qwen3-0.6b`."""
    return re.sub(r"[^a-z0-9._-]+", "-", Path(path).name.lower()).strip("-.")


def refuse_name(name: str) -> None:
    """Raises `UserError` for what no client could send."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,199}", name):
        raise UserError(
            f"{name!r} cannot be a model's name: letters, digits and . _ : / + - can, at most 200 of them, a letter or digit first."
        )


def _starter() -> Model:
    folder = local_folder(ModelSpec(path=STARTER))
    return Model(STARTER, str(folder), (folder / "config.json").stat().st_mtime)


def _link(source: Path, target: Path) -> None:
    """The same bytes under another name; a copy where the file system cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
