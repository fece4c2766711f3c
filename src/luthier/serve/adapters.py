"""`Adapters`: those in memory on one base, brought in when somebody asks for them; the least recently used leave first."""

import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel

from luthier.adapters import lora
from luthier.errors import ModelError, SettingsError
from luthier.serve.refused import Refused
from luthier.spec.serving import AdapterState

Files = tuple[str, int, int]
"""A folder, and when its weights were written and how many bytes they have: others at the same place are another adapter."""


@dataclass(frozen=True)
class Resident:
    """An adapter in memory. `name`: in the routing of forwards; never that of another one before it."""

    name: str
    folder: str
    num_bytes: int


class Adapters:
    """Of one base. At most `budget` bytes, or one adapter."""

    def __init__(self, model: PreTrainedModel, budget: int) -> None:
        self.model, self.budget = model, budget
        self._of: dict[Files, Resident] = {}
        """Least recently used first."""
        self._num_loaded = 0

    @property
    def num_bytes(self) -> int:
        return sum(resident.num_bytes for resident in self._of.values())

    @property
    def states(self) -> tuple[AdapterState, ...]:
        return tuple(AdapterState(folder=r.folder, num_bytes=r.num_bytes) for r in list(self._of.values()))

    def name_of(self, folder: str, in_use: Container[str]) -> str | None:
        """The name of the adapter in `folder`, which is loaded where it is not there. None: there is no room until one in use is done.

        Args:
            in_use: names of those that are computed with now.
        Raises:
            Refused: there is none, it is damaged, of a kind that cannot be served, or of another base.
        """
        files = files_of(folder)
        if files in self._of:
            self._of[files] = found = self._of.pop(files)
            return found.name
        if not self._make_room(files[2], in_use):
            return None
        resident = Resident(self._load(Path(folder)), folder, files[2])
        self._of[files] = resident
        return resident.name

    def unload(self, folder: str, in_use: Container[str]) -> bool:
        """Let go of it. False: it is in use."""
        for files, resident in list(self._of.items()):
            if resident.folder == folder:
                if resident.name in in_use:
                    return False
                self._remove(files)
        return True

    def _make_room(self, needed: int, in_use: Container[str]) -> bool:
        for files, resident in list(self._of.items()):
            if self.num_bytes + needed <= self.budget:
                return True
            if resident.name not in in_use:
                self._remove(files)
        return self.num_bytes + needed <= self.budget or not self._of

    def _remove(self, files: Files) -> None:
        lora.remove(self.model, self._of.pop(files).name)

    def _load(self, folder: Path) -> str:
        name = f"resident{self._num_loaded}"
        self._num_loaded += 1
        try:
            lora.load(self.model, name, folder, self.model.get_output_embeddings())
        except (ModelError, SettingsError) as error:
            lora.remove(self.model, name)
            raise Refused("internal", str(error)) from error
        except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
            lora.remove(self.model, name)
            raise Refused("internal", f"{folder} is damaged or incomplete ({error}). Copy it again.") from error
        return name


def files_of(folder: str) -> Files:
    """Raises `Refused` where there is no adapter."""
    try:
        found = (Path(folder) / lora.WEIGHTS).stat()
    except OSError:
        raise Refused("not_found", f"There is no adapter in {folder}: {lora.WEIGHTS} is missing.", "model_not_found", "model") from None
    return folder, found.st_mtime_ns, found.st_size
