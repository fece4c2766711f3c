"""The names of what a fine-tuning job leaves, as OpenAI forms them: `ft:BASE:ORGANISATION:SUFFIX:8 LETTERS`.

They follow from the job's id, so that a worker that is killed while it stores them, and the one that goes on, mean the same.
"""

import hashlib
import re

from luthier.store.ids import ALPHABET

ORGANIZATIONS = {"default": "luthier"}
"""What stands for a project in names; any other project stands for itself."""


def model_name(base: str, project: str, suffix: str | None, job: str) -> str:
    """The name of a job's model."""
    return f"{_beginning(base, project, suffix)}:{_letters(job, 8)}"


def checkpoint_name(base: str, project: str, suffix: str | None, job: str, step: int) -> str:
    """The name of the model that a checkpoint is: with letters of its own."""
    return f"{_beginning(base, project, suffix)}:{_letters(f'{job} {step}', 8)}:ckpt-step-{step}"


def checkpoint_id(job: str, step: int) -> str:
    return f"ftckpt_{_letters(f'{job} checkpoint {step}', 24)}"


def organization(project: str) -> str:
    return ORGANIZATIONS.get(project, re.sub(r"[^a-z0-9]+", "-", project.lower()).strip("-"))


def _beginning(base: str, project: str, suffix: str | None) -> str:
    return f"ft:{base}:{organization(project)}:{suffix or ''}"


def _letters(text: str, length: int) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = []
    for _ in range(length):
        number, letter = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[letter])
    return "".join(letters)
