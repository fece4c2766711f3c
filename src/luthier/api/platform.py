"""What every route stands on: the database, the files, the models, the queue, and whoever draws answers."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from luthier.accounts.accounts import Accounts
from luthier.api.backend import Backend
from luthier.jobs.comparisons import Comparisons
from luthier.jobs.queue import Queue
from luthier.jobs.runs import Runs
from luthier.jobs.tunings import Tunings
from luthier.spec.serving import Price
from luthier.store.blobs import Blobs, blobs_of
from luthier.store.database import Database
from luthier.store.feedback import FeedbackStore
from luthier.store.files import Files
from luthier.store.home import Home
from luthier.store.logged import Log
from luthier.store.models import Models
from luthier.store.sharing import Sharing
from luthier.store.stored import Stored
from luthier.store.uploads import Uploads


@dataclass(frozen=True)
class Platform:
    """Opened once a process, shared by its requests. `home`: where it keeps what it has."""

    home: Home
    blobs: Blobs
    files: Files
    uploads: Uploads
    models: Models
    queue: Queue
    tunings: Tunings
    runs: Runs
    comparisons: Comparisons
    stored: Stored
    feedback: FeedbackStore
    sharing: Sharing
    log: Log
    accounts: Accounts
    backend: Backend
    price: Price
    tokens: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By project, model, and whether they were read (`prompt`) or written (`completion`), since this process began."""

    @property
    def database(self) -> Database:
        return self.home.database


def open_platform(home: Home, backend: Backend, price: Price = Price()) -> Platform:
    """Raises `UserError` for a store of files that cannot be opened."""
    database, blobs = home.database, blobs_of(home)
    files = Files(database, blobs)
    models = Models(database, blobs, home.folder / "models")
    queue = Queue(database)
    return Platform(
        home=home,
        blobs=blobs,
        files=files,
        uploads=Uploads(database, blobs, files),
        models=models,
        queue=queue,
        tunings=Tunings(database, files, models, home.jobs),
        runs=Runs(database, home.jobs),
        comparisons=Comparisons(database, models, home.jobs),
        stored=Stored(database),
        feedback=FeedbackStore(database),
        sharing=Sharing(database),
        log=Log(database),
        accounts=Accounts(database, home.secret),
        backend=backend,
        price=price,
    )


def platform(request: Request) -> Platform:
    found: Platform = request.app.state.platform
    return found


Here = Annotated[Platform, Depends(platform)]
"""A route's `here: Here` is the platform that it is a route of."""
