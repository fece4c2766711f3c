"""Projects, keys, the record of who did what, and the log of what models were asked."""

from luthier.client.asking import Asking
from luthier.spec.accounts import (
    AuditEntry,
    Key,
    LogPage,
    MadeKey,
    NewKey,
    NewProject,
    Project,
    ProjectDetails,
    ProjectSettings,
)
from luthier.spec.wire import Page


class Projects:
    """What there are, and what each may use."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def list(self) -> Page[Project]:
        """The key's own; all of them for a key for every project."""
        return self._asking.ask(Page[Project], "GET", "/api/projects")

    def create(self, new: NewProject) -> Project:
        return self._asking.ask(Project, "POST", "/api/projects", body=new)

    def get(self, project: str) -> ProjectDetails:
        """By its id or name, with what it has of what is limited."""
        return self._asking.ask(ProjectDetails, "GET", "/api/projects/{project}", {"project": project})

    def change(self, project: str, settings: ProjectSettings) -> Project:
        """Set those of its settings that were named; None takes one away."""
        return self._asking.ask(Project, "PATCH", "/api/projects/{project}", {"project": project}, body=settings)


class Keys:
    """Keys of the project."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def list(self, limit: int = 100, after: str | None = None) -> Page[Key]:
        """The newest first."""
        return self._asking.ask(Page[Key], "GET", "/api/keys", query={"limit": limit, "after": after})

    def create(self, new: NewKey) -> MadeKey:
        """`value` is the key itself: it is told this once."""
        return self._asking.ask(MadeKey, "POST", "/api/keys", body=new)

    def get(self, key: str) -> Key:
        return self._asking.ask(Key, "GET", "/api/keys/{key}", {"key": key})

    def revoke(self, key: str) -> Key:
        return self._asking.ask(Key, "DELETE", "/api/keys/{key}", {"key": key})


class Audit:
    """Who did what."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def list(self, limit: int = 100, after: str | None = None, action: str | None = None, key: str | None = None) -> Page[AuditEntry]:
        """The newest first. `action`: `files.delete`, or `files` for all that was done with files; `key`: by which, its id."""
        query = {"limit": limit, "after": after, "action": action, "key": key}
        return self._asking.ask(Page[AuditEntry], "GET", "/api/audit", query=query)


class Logs:
    """What models were asked and said, where the project has it logged."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def list(self, limit: int = 100, before: int | None = None) -> LogPage:
        """The newest first, those before the one with this number."""
        return self._asking.ask(LogPage, "GET", "/api/logs", query={"limit": limit, "before": before})
