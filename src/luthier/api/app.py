"""The gateway: every route, behind what holds for all of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import anyio
from fastapi import FastAPI

from luthier.api import (
    audit,
    batches,
    chat,
    comparisons,
    completions,
    embeddings,
    errors,
    eval_runs,
    evals,
    feedback,
    files,
    fine_tuning,
    graders,
    health,
    keys,
    logs,
    models,
    moderations,
    permissions,
    plans,
    projects,
    reference,
    responses,
    runs,
    stored,
    uploads,
)
from luthier.api.auth import Door
from luthier.api.azure import AzurePaths
from luthier.api.bodies import SoundBodies
from luthier.api.envelope import Envelope
from luthier.api.evals_running import EvalRunner
from luthier.api.figures import Counted, Figures
from luthier.api.planning import Planner
from luthier.api.platform import Platform
from luthier.api.traces import Traced
from luthier.api.upkeep import upkeep

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

OPENAI = [
    files.router,
    uploads.router,
    batches.router,
    fine_tuning.router,
    permissions.router,
    graders.router,
    models.router,
    chat.router,
    stored.router,
    completions.router,
    responses.router,
    embeddings.router,
    moderations.router,
    evals.router,
    eval_runs.router,
]
"""Under /v1, as OpenAI has them."""

BATCHED = [chat.router, completions.router, responses.router, embeddings.router]
"""What a batch can ask."""

OURS = [
    projects.router,
    keys.router,
    audit.router,
    logs.router,
    feedback.router,
    runs.router,
    plans.router,
    comparisons.router,
]
"""Under /api."""


def create_app(platform: Platform, traces: "TracerProvider | None" = None) -> FastAPI:
    """The gateway of a platform. It imports neither torch nor transformers. `traces`: where a span of each request goes, if anywhere."""
    app = FastAPI(
        title="Luthier",
        version=version("luthier"),
        summary="Fine-tuning as OpenAI's clients know it, on your own hardware.",
        lifespan=_lifespan,
        docs_url=None,  # FastAPI's page fetches scripts from elsewhere
        redoc_url=None,
        default_response_class=errors.JsonResponse,
        redirect_slashes=False,
    )
    app.state.planner = Planner()
    app.state.platform, app.state.figures = platform, Figures()
    errors.install(app)
    for router in OPENAI:
        app.include_router(router, prefix="/v1")
    for router in OURS:
        app.include_router(router, prefix="/api")
    app.include_router(health.router)
    app.add_route("/docs", reference.docs, include_in_schema=False)
    app.add_middleware(SoundBodies)
    app.add_middleware(Door)
    app.add_middleware(AzurePaths)
    if traces is not None:
        app.add_middleware(Traced, provider=traces)
    app.add_middleware(Counted, figures=app.state.figures)
    app.add_middleware(Envelope)  # the last one added is the outermost
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        async with anyio.create_task_group() as beside:
            beside.start_soon(EvalRunner(app.state.platform).run)
            beside.start_soon(upkeep, app.state.platform, BATCHED)
            yield
            beside.cancel_scope.cancel()
    finally:
        await app.state.platform.backend.close()
