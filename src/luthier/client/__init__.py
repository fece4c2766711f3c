"""A typed client of Luthier's own interface: `from luthier.client import Client`. For files, jobs and answers there is the `openai` SDK."""

from luthier.client.client import Client, each
from luthier.client.errors import ClientError
from luthier.spec.accounts import NewKey, NewProject, ProjectSettings
from luthier.spec.comparisons import NewComparison
from luthier.spec.feedback import NewExport, NewFeedback
from luthier.spec.plans import NewPlan

__all__ = [
    "Client",
    "ClientError",
    "NewComparison",
    "NewExport",
    "NewFeedback",
    "NewKey",
    "NewPlan",
    "NewProject",
    "ProjectSettings",
    "each",
]
