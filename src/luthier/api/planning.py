"""Plans are made by a process of their own, because the gateway has no torch: a few at a time, each for so long and no longer."""

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from luthier.api.errors import ApiError
from luthier.api.places import without

log = logging.getLogger("luthier.api")

TIME_LIMIT_S = 60.0
"""Longest time of one plan. It reads the model's config and the rows, and draws no gradient."""

AT_ONCE = 2
"""Plans of one gateway at a time: each is a process with torch."""

RETRY_AFTER_S = 5


class Planner:
    """A gateway's own."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S, at_once: int = AT_ONCE) -> None:
        self.time_limit_s, self.at_once, self.running = time_limit_s, at_once, 0

    async def plan(self, run_file: str, options: Sequence[str], shown: Mapping[str, str]) -> dict[str, Any]:
        """What `luthier plan` says of a run file, as a value.

        Args:
            options: further ones of that command. shown: what stands for places on the server in all that it says.
        Raises:
            ApiError: it cannot be planned, with the command's own sentence; or not now; or not in the time it has.
        """
        if self.running >= self.at_once:
            wait = {"retry-after": str(RETRY_AFTER_S)}
            raise ApiError(429, f"{self.at_once} plans are being made already. Try again in {RETRY_AFTER_S} s.", code="busy", headers=wait)
        self.running += 1
        try:
            done = await run_in_threadpool(self._run, run_file, options)
        finally:
            self.running -= 1
        if b"Traceback (most recent call last)" in done.stderr:
            log.error("a plan failed: %s", done.stderr.decode("utf-8", "replace"))
            raise ApiError(500, "The planning process failed. The server's log says why.", code="internal_error", type="server_error")
        said, wrong = (without(text.decode("utf-8", "replace"), shown) for text in (done.stdout, done.stderr))
        try:
            found: dict[str, Any] = json.loads(said)
        except ValueError:
            reason = wrong.strip().removeprefix("Error: ").replace("run.yaml: ", "") or f"Its process ended with code {done.returncode}."
            raise ApiError(400, f"This run cannot be planned. {reason}", code="not_plannable") from None
        return found

    def _run(self, run_file: str, options: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, "-m", "luthier.cli", "plan", "run.yaml", "--json", *options]
        with tempfile.TemporaryDirectory(prefix="luthier-plan-") as folder:
            (Path(folder) / "run.yaml").write_text(run_file, encoding="utf-8")
            try:
                return subprocess.run(
                    command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=self.time_limit_s, check=False
                )
            except subprocess.TimeoutExpired:
                message = (
                    f"The plan was not made within {self.time_limit_s:.0f} s. Plan it without its files, or on the server:  luthier plan"
                )
                raise ApiError(400, message, code="plan_timeout") from None
