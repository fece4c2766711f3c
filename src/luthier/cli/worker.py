"""Take jobs from the queue and do them, each in a process of its own."""

from typing import Annotated

import typer

from luthier.cli._home import DatabaseOption, HomeOption

SECTION = "Platform"


def command(
    home: HomeOption = None,
    database: DatabaseOption = None,
    slots: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Leave when there is nothing to do.")] = False,
    lease: Annotated[float, typer.Option(min=1.0, help="Seconds without a word after which others take up this worker's jobs.")] = 30.0,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Take jobs from the queue and do them, each in a process of its own; several workers may share a queue.

    A worker that is killed loses nothing: its jobs go on with another one, from their last checkpoint. Ctrl-C or SIGTERM lets running jobs
    save their state first.
    """
    from luthier.cli._machine import read_memory, read_processor
    from luthier.jobs.process import die_with
    from luthier.jobs.request import KINDS
    from luthier.jobs.tuning_follower import TuningFollower
    from luthier.jobs.tunings import Tunings
    from luthier.jobs.worker import Worker
    from luthier.store.blobs import blobs_of
    from luthier.store.files import Files
    from luthier.store.home import Home
    from luthier.store.models import Models

    if parent is not None:
        die_with(parent)
    opened = Home(home, database)
    blobs = blobs_of(opened)
    models = Models(opened.database, blobs, opened.folder / "models")
    follower = TuningFollower(Tunings(opened.database, Files(opened.database, blobs), models, opened.jobs))
    offers = {"kind": list(KINDS), "memory_bytes": int(read_memory().total_gib * 2**30), "cores": read_processor().cores}
    worker = Worker(opened.database, offers, slots, lease, say=lambda text: typer.echo(text), followers={"tune": follower})
    typer.echo(f"{worker.id}  takes jobs from {opened.database}")
    worker.run(until_idle)
