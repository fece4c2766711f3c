"""Draw answers for a gateway: the process that `luthier serve` starts."""

from typing import Annotated

import typer


def command(
    listener: Annotated[int, typer.Option(help="The number of an open, listening Unix socket.")],
    parent: Annotated[int | None, typer.Option(help="The process to end with.")] = None,
    nice: Annotated[int, typer.Option(min=0, max=19, help="How far to stand back behind other processes.")] = 5,
    memory_gib: Annotated[float | None, typer.Option(min=0.0, help="What models may take. Default: half of the machine's.")] = None,
    max_waiting: Annotated[int, typer.Option(min=1, help="Answers that may wait for a place.")] = 1024,
    threads: Annotated[
        int | None, typer.Option(min=1, help="That compute. Default: OMP_NUM_THREADS, or one less than there are cores: the gateway's.")
    ] = None,
) -> int:
    """Answer what comes over a socket, with many adapters on few bases. `luthier serve` starts this; people need not."""
    import os
    import socket

    from luthier.cli._machine import read_processor
    from luthier.jobs.process import die_with

    if parent is not None:
        die_with(parent)
    os.nice(nice)
    if threads or "OMP_NUM_THREADS" not in os.environ:  # before torch is there
        os.environ["OMP_NUM_THREADS"] = str(threads or threads_beside(read_processor().usable_cores))

    from luthier.models.device import bound_compiled_products
    from luthier.serve.limits import Limits
    from luthier.serve.process import serve

    bound_compiled_products()
    return serve(socket.socket(fileno=listener), Limits.of_machine(memory_gib, max_waiting))


def threads_beside(cores: float) -> int:
    """All cores but one. A thread that waits for its core makes the others wait, a few milliseconds for each product (docs/why/019)."""
    return max(1, int(cores) - 1)
