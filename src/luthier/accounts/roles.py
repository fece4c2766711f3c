"""Which role may do what: one table. A permission is a kind of thing and whether it is read, written or used."""

from dataclasses import dataclass

ADMIN, MEMBER, RATER, AUDITOR, INFERENCE = "admin", "member", "rater", "auditor", "inference"

ROLES = {
    ADMIN: "everything in its project, its keys too",
    MEMBER: "files, jobs, models and answers of its project",
    RATER: "feedback alone",
    AUDITOR: "reads every record of its project and verifies runs; changes nothing",
    INFERENCE: "asks models, and nothing else",
}
"""What a person reads about each."""

_WORK = frozenset({ADMIN, MEMBER})
_LOOK = frozenset({ADMIN, MEMBER, AUDITOR})
_OVERSEE = frozenset({ADMIN, AUDITOR})
_RULE = frozenset({ADMIN})

PERMISSIONS = {
    "files.read": _LOOK,
    "files.write": _WORK,
    "jobs.read": _LOOK,
    "jobs.write": _WORK,
    "runs.read": _LOOK,
    "runs.write": _WORK,
    "runs.verify": _LOOK,
    "models.read": _LOOK | {INFERENCE},
    "models.write": _WORK,
    "sharing.read": _OVERSEE,
    "sharing.write": _RULE,
    "inference.use": _WORK | {INFERENCE},
    "graders.use": _WORK,
    "stored.read": _LOOK,
    "stored.write": _WORK,
    "batches.read": _LOOK,
    "batches.write": _WORK,
    "evals.read": _LOOK,
    "evals.write": _WORK,
    "feedback.read": _LOOK | {RATER},
    "feedback.write": _WORK | {RATER},
    "keys.read": _OVERSEE,
    "keys.write": _RULE,
    "audit.read": _OVERSEE,
    "metrics.read": _OVERSEE,
    "logs.read": _OVERSEE,
    "projects.read": _LOOK,
    "projects.write": _RULE,
}

EVERYWHERE = frozenset({"projects.write", "sharing.write", "metrics.read"})
"""What takes a key for every project: nobody raises the limits that were set for them, or puts a model before another project; figures are
of all projects."""

FOR_EVERYWHERE = _OVERSEE
"""Roles of which there are keys for every project."""


@dataclass(frozen=True)
class Caller:
    """Who asks. `project`: the one whose things it sees. `key`: its id, empty for somebody at this machine's command line.
    `everywhere`: its key is for every project, and `project` the one that it has chosen for this request."""

    project: str
    key: str
    role: str
    everywhere: bool = False


def allows(caller: Caller, permission: str) -> bool:
    """Whether the caller may. `permission`: one of the table."""
    return caller.role in PERMISSIONS[permission] and (caller.everywhere or permission not in EVERYWHERE)


def at_this_machine(project: str) -> Caller:
    """Somebody at the command line of the machine that has the database: whoever can read that needs no key."""
    return Caller(project, "", ADMIN, everywhere=True)
