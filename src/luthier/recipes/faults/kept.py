"""What was found in large data files, kept by their content: a run need not read a million rows again to say the same."""

import hashlib
import json
import os
from collections.abc import Callable

import msgspec

from luthier.data import files
from luthier.data.cache import SURVEYS, Cache
from luthier.data.entry import NoRoom
from luthier.errors import DataError
from luthier.recipes.tokens import code_fingerprint
from luthier.spec.finding import Finding
from luthier.spec.folder import is_path
from luthier.spec.run import DataSource

SMALLEST_KEPT_BYTES = 10_000_000
"""Smaller files are read again in less than a second."""

CODE = ("data", "spec/rows.py", "spec/finding.py", "recipes/faults")
"""What of this program decides what is found."""


def kept(parts: dict[str, list[DataSource]], how: str, find: Callable[[], list[Finding]]) -> list[Finding]:
    """`find`, or what it found before in files of the same content. `parts`: files by their use. `how`: what else decides what is found."""
    sources = [source for of_part in parts.values() for source in of_part]
    size = sum(files.existing(source.path).stat().st_size for source in sources)
    cache = Cache.of_user(SURVEYS, os.environ)
    if size < SMALLEST_KEPT_BYTES or not cache.limit_bytes or any(is_path(source.format) for source in sources):
        return find()
    read = {use: [[source.model_dump(mode="json"), files.fingerprint(source.path)] for source in of_part] for use, of_part in parts.items()}
    key = hashlib.sha256(json.dumps([read, how, code_fingerprint(CODE)]).encode()).hexdigest()[:40]
    try:
        if entry := cache.open(key):
            return msgspec.convert(entry.about["findings"], list[Finding])
    except DataError:
        cache.remove(key)  # it is damaged, and made again
    found = find()
    try:
        with cache.making(key) as writer:
            writer.note({"findings": msgspec.to_builtins(found)})
    except NoRoom:
        return found  # what is not kept is found again
    return found
