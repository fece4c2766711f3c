"""Azure's paths, which are OpenAI's with another beginning: `AzureOpenAI(azure_endpoint=…)` works against the same routes."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

DEPLOYMENT = re.compile(r"^/openai/deployments/(?P<model>[^/]+)(?P<rest>/.+)$")
PLAIN = re.compile(r"^/openai(?:/v1)?(?P<rest>/.+)$")


class AzurePaths:
    """`/openai/files` and `/openai/v1/files` are `/v1/files`; `/openai/deployments/MODEL/chat/completions` names its model in the path.

    The model of the path is kept as `state.deployment`: it stands where the body names none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/openai/"):
            scope = dict(scope)
            if found := DEPLOYMENT.match(scope["path"]):
                scope.setdefault("state", {})["deployment"] = found["model"]
            found = found or PLAIN.match(scope["path"])
            if found:
                scope["path"] = f"/v1{found['rest']}"
                scope["raw_path"] = scope["path"].encode()
        await self.app(scope, receive, send)
