"""Take jobs from the queue and do them, each in a process of its own."""

import os
from typing import Annotated

import typer

from luthier.cli._home import DatabaseOption, HomeOption

SECTION = "Platform"


def command(
    home: HomeOption = None,
    database: DatabaseOption = None,
    slots: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 1,
    memory: Annotated[float | None, typer.Option(min=0.1, help="GiB that jobs may take together. Default: what there is.")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a Ray cluster, on which jobs train: HOST:PORT, auto, local.")
    ] = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Leave when there is nothing to do.")] = False,
    lease: Annotated[float, typer.Option(min=1.0, max=600.0, help="Seconds of silence after which others take up its jobs.")] = 30.0,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Take jobs from the queue and do them, each in a process of its own; several workers may share a queue.

    It takes only jobs that fit: their method, their memory as planned, their devices. What fits no worker waits, and says so.

    A worker that is killed loses nothing: its jobs go on with another one, from their last checkpoint. Ctrl-C or SIGTERM lets running jobs
    save their state first.
    """
    from luthier.cli._offers import offers
    from luthier.jobs.comparison_follower import ComparisonFollower
    from luthier.jobs.comparisons import Comparisons
    from luthier.jobs.follower import Follower
    from luthier.jobs.process import die_with
    from luthier.jobs.tuning_follower import TuningFollower
    from luthier.jobs.tunings import Tunings
    from luthier.jobs.worker import Worker
    from luthier.store.blobs import blobs_of
    from luthier.store.files import Files
    from luthier.store.home import Home
    from luthier.store.models import Models

    if parent is not None:
        die_with(parent)
    there = offers(memory)
    if ray is not None:
        from luthier.cli._ray import devices_of
        from luthier.cli.work import RAY

        there["devices"] = devices_of(ray)
        os.environ[RAY] = ray  # for the processes of its jobs
    opened = Home(home, database)
    blobs = blobs_of(opened)
    models = Models(opened.database, blobs, opened.folder / "models")
    tunings = Tunings(opened.database, Files(opened.database, blobs), models, opened.jobs)
    compared = ComparisonFollower(Comparisons(opened.database, models, opened.jobs), tunings)
    followers: dict[str, Follower] = {"tune": TuningFollower(tunings), "compare": compared}
    worker = Worker(opened.database, there, slots, lease, say=lambda text: typer.echo(text), followers=followers)
    typer.echo(f"{worker.id}  takes jobs from {opened.database}")
    worker.run(until_idle)
