"""The gateway: every route, behind what holds for all of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from luthier import __version__
from luthier.api import (
    audit,
    chat,
    completions,
    embeddings,
    errors,
    files,
    fine_tuning,
    graders,
    health,
    keys,
    models,
    projects,
    responses,
    stored,
    uploads,
)
from luthier.api.auth import Door
from luthier.api.azure import AzurePaths
from luthier.api.bodies import SoundBodies
from luthier.api.envelope import Envelope
from luthier.api.figures import Counted, Figures
from luthier.api.platform import Platform

OPENAI = [
    files.router,
    uploads.router,
    fine_tuning.router,
    graders.router,
    models.router,
    chat.router,
    stored.router,
    completions.router,
    responses.router,
    embeddings.router,
]
"""Under /v1, as OpenAI has them."""

OURS = [projects.router, keys.router, audit.router]
"""Under /api."""


def create_app(platform: Platform) -> FastAPI:
    """The gateway of a platform. It imports neither torch nor transformers."""
    app = FastAPI(
        title="Luthier",
        version=__version__,
        summary="Fine-tuning as OpenAI's clients know it, on your own hardware.",
        lifespan=_lifespan,
        docs_url="/docs",
        redoc_url=None,
        default_response_class=errors.JsonResponse,
        redirect_slashes=False,
    )
    app.state.platform, app.state.figures = platform, Figures()
    errors.install(app)
    for router in OPENAI:
        app.include_router(router, prefix="/v1")
    for router in OURS:
        app.include_router(router, prefix="/api")
    app.include_router(health.router)
    app.add_middleware(SoundBodies)
    app.add_middleware(Door)
    app.add_middleware(AzurePaths)
    app.add_middleware(Counted, figures=app.state.figures)
    app.add_middleware(Envelope)  # the last one added is the outermost
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await app.state.platform.backend.close()
