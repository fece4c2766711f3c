"""Models by the names that they had at OpenAI."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from luthier.api.platform import Platform
from luthier.jobs.names import model_name


@pytest.mark.parametrize(
    "asked, called", [("gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18"), ("house", "starter"), ("starter", "starter")]
)
def test_what_is_tuned_of_one_of_openais_names_keeps_it(platform: Platform, client: TestClient, asked: str, called: str):
    """litellm, and DSPy through it, ask `ft:gpt-4o-mini…` of OpenAI's interface without being told to; other aliases are ours alone."""
    if asked != "starter":
        platform.models.set_alias(asked, "starter")
    file = client.post("/v1/files", files={"file": ("t.jsonl", b"{}\n")}, data={"purpose": "fine-tune"}).json()["id"]
    made: Any = client.post("/v1/fine_tuning/jobs", json={"model": asked, "training_file": file}).json()
    assert made["model"] == "starter"
    told = platform.tunings.get(made["id"])
    assert told is not None
    assert model_name(told[1].base, "default", None, made["id"]).startswith(f"ft:{called}:luthier::")
