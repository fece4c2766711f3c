"""Ids that nobody can guess, in the form that OpenAI's have."""

import secrets
import string

ALPHABET = string.ascii_letters + string.digits


def new(prefix: str, length: int = 24) -> str:
    """`prefix` and `length` random letters and digits, such as `file-Zk3…`."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(length))
