"""Projects, keys and the record of who did what, as our own interface tells them; and what a project may be told to do."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from luthier.spec.base import Spec
from luthier.spec.wire import Wire


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_compiles)]

EMAIL_AND_NUMBERS = (r"[\w.+-]+@[\w-]+\.[\w.]+", r"\+?\d[\d -]{5,}\d")


class Rule(Spec):
    """A regular expression, read without regard to capitals, and what it is a sign of."""

    category: str = Field(min_length=1, max_length=64)
    """As answers name it, such as `violence`."""
    pattern: Pattern
    """What is looked for."""
    where: Literal["input", "output", "both"] = "both"
    """In what is asked, in what is said, or in both."""


class Moderation(Spec):
    """What is looked for in what a model is asked and says: by rules, by a model that was tuned to classify, or by both."""

    rules: tuple[Rule, ...] = ()
    """Each of which refuses what it matches."""
    classifier: str | None = None
    """The name of a model that answers a text with its class."""
    refused: tuple[str, ...] = ()
    """Classes that are refused."""


class ProjectSettings(Spec):
    """What a project may use, no limit where nothing is said; and what is looked for and kept of what its models are asked."""

    max_open_jobs: int | None = Field(None, ge=0)
    """Jobs that have not ended: waiting, running or paused. One more is refused when it is asked for."""

    max_files_bytes: int | None = Field(None, ge=0)
    """Bytes of all its files together. A file beyond that is refused."""

    trained_tokens_per_month: int | None = Field(None, ge=0)
    """A budget: tokens that its finished jobs were trained on since the first of the month, UTC. Once it is spent, jobs are refused."""

    requests_per_minute: int | None = Field(None, ge=1)
    """For each of its keys, at each gateway. It may save up one minute's worth."""

    tokens_per_minute: int | None = Field(None, ge=1)
    """Tokens read and written by models, for each of its keys, at each gateway."""

    moderation: dict[str, Moderation] = {}
    """What models must not be asked or say, by the model's name; `*` for all that are not named."""

    log_requests: bool = False
    """Keep what models were asked and what they said, for monitoring and the next round of training."""

    log_days: int = Field(30, ge=1)
    """After so many days what was logged is deleted."""

    redact: tuple[Pattern, ...] = EMAIL_AND_NUMBERS
    """Regular expressions: what they match is replaced in what is logged. By default e-mail addresses, and numbers of 7 digits and more."""


class NewProject(Spec):
    """A project to be made."""

    name: str
    """What people call it: letters, digits and . _ -, at most 64."""
    settings: ProjectSettings = ProjectSettings()
    """What it may use."""


class Project(Wire):
    """A project: whose files, jobs, models and answers they are."""

    object: Literal["project"] = "project"
    id: str
    name: str
    settings: ProjectSettings
    created_at: int


class ProjectUsage(Wire):
    """What a project has of what can be limited."""

    open_jobs: int
    files_bytes: int
    trained_tokens_this_month: int


class ProjectDetails(Project):
    """A project, with what it has."""

    usage: ProjectUsage


class NewKey(Spec):
    """A key to be made, for the caller's project."""

    role: str = Field("member", json_schema_extra={"enum": ["admin", "member", "rater", "auditor", "inference"]})
    """What it may do: admin, member, rater, auditor or inference."""
    name: str = Field("", max_length=100)
    """What people know it by."""
    days: float | None = Field(None, gt=0, le=36_500)
    """After how many days it opens nothing any more. Default: never."""
    everywhere: bool = False
    """For every project. Only a key for every project makes such ones, and only of the roles admin and auditor."""


class Key(Wire):
    """What is known of a key, as OpenAI's administration tells keys, with what ours have beyond that."""

    object: Literal["api_key"] = "api_key"
    id: str
    name: str
    redacted_value: str
    """Its first and last characters."""
    role: str
    project: str
    everywhere: bool
    status: str
    """active, expired or revoked."""
    created_by: str | None
    """A key's id; null for the command line of the server."""
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


class MadeKey(Key):
    """A key that was made just now."""

    value: str
    """The key itself, told this once."""


class AuditEntry(Wire):
    """Who did what, and when."""

    object: Literal["audit.entry"] = "audit.entry"
    id: str
    created_at: int
    project: str
    key: str | None
    """Null for the command line of the server."""
    action: str
    """Such as `files.delete`."""
    subject: str
    """The id of what it was done to."""
    details: dict[str, Any]
    request_id: str | None


class LogEntry(Wire):
    """What a model was asked and what it said."""

    number: int
    at: float
    """Seconds since the epoch."""
    project: str
    key: str
    model: str
    asked: Any
    """Turns, or a prompt; what is to be hidden is."""
    said: list[str]
    tokens: int
    seconds: float
    request: str
    """Its id."""


class LogPage(Wire):
    """The newest first: ask with `before` set to the last one's number for more."""

    data: list[LogEntry]
    has_more: bool
