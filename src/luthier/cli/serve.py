"""The platform on this machine: OpenAI's interface, a worker that trains, and a process that answers."""

import sys
from typing import Annotated

import typer

from luthier.cli._home import DatabaseOption, HomeOption

SECTION = "Platform"


def command(
    host: Annotated[str, typer.Option(help="The address to listen on. Any other than this machine's own needs a key first.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where it is taken, the next free one.", min=1, max=65535)] = 8321,
    home: HomeOption = None,
    database: DatabaseOption = None,
    alias: Annotated[
        list[str] | None, typer.Option(help="NAME=MODEL: let a name stand for a model; openai=MODEL: all of OpenAI's names.")
    ] = None,
    vllm: Annotated[str | None, typer.Option(help="Let the vLLM at this URL answer, instead of a process of ours.")] = None,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Also take jobs from the queue.")] = True,
    price_an_hour: Annotated[
        float, typer.Option(help="What an hour of a job costs, in any currency: /metrics tells each project's price.", min=0.0)
    ] = 0.0,
    price_a_kwh: Annotated[float, typer.Option(help="The same, of a kWh of energy.", min=0.0)] = 0.0,
    traces: Annotated[
        str | None, typer.Option(help="Send OpenTelemetry traces of requests to this address, or `console`. Needs luthier[otel].")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request.")] = False,
) -> None:
    """Serve OpenAI's fine-tuning interface from this machine: files, jobs, chat. Ctrl-C ends it; what runs saves its state first.

    Point any OpenAI client at it:  export OPENAI_BASE_URL=http://127.0.0.1:8321/v1 OPENAI_API_KEY=lt-…
    """
    import logging
    from contextlib import ExitStack

    from luthier.api.app import create_app
    from luthier.api.backend import backend_of
    from luthier.api.names import let_stand
    from luthier.api.platform import open_platform
    from luthier.api.server import ListenError, is_loopback, kept_running, listen, serve
    from luthier.api.traces import provider_to
    from luthier.spec.serving import Price
    from luthier.store.home import DATABASE_VARIABLE, VARIABLE, Home

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO if verbose else logging.WARNING)
    opened = Home(home, database)
    spans = provider_to(traces) if traces is not None else None
    platform = open_platform(opened, backend_of(opened, vllm), Price(an_hour=price_an_hour, a_kwh=price_a_kwh))
    if not is_loopback(host) and not platform.accounts.has_keys():
        raise ListenError(f"{host} can be reached from other machines, and there is no key yet. Make one first:  luthier keys create")
    for given in alias or []:
        let_stand(platform.models, given)
    listening = listen(host, port)
    _greet(f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}", str(opened.folder), platform.accounts.first_key())
    with ExitStack() as stack:
        if spans is not None:
            stack.callback(spans.shutdown)  # sends what is left
        if worker:
            told = {VARIABLE: str(opened.folder), DATABASE_VARIABLE: opened.database.url.render_as_string(hide_password=False)}
            stack.enter_context(kept_running([sys.executable, "-m", "luthier.cli", "worker"], told))
        serve(create_app(platform, spans), listening)


def _greet(url: str, folder: str, key: str | None) -> None:
    typer.echo(f"Luthier  {url}  (its folder: {folder})")
    if key is not None:
        typer.echo(f"\nYour first key, an admin's, shown this once:\n\n  {key}\n")
    typer.echo(f"\nPoint an OpenAI client at it:\n\n  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key or 'lt-…'}\n")
    typer.echo("Ctrl-C ends it.")
