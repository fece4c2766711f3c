"""Models by the names that they had at OpenAI."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient
from tests.api.test_files import error_of

from luthier.api.names import NAMES, let_stand
from luthier.api.platform import Platform
from luthier.errors import UserError
from luthier.jobs.names import model_name
from luthier.store.tables import models

OLD, TUNED = "ft:gpt-4o-mini-2024-07-18:acme::abc12345", "ft:starter:luthier::xyz67890"


def asked_for(client: TestClient, model: str) -> Any:
    """The answer to a new job of this model."""
    file = client.post("/v1/files", files={"file": ("t.jsonl", b"{}\n")}, data={"purpose": "fine-tune"}).json()["id"]
    return client.post("/v1/fine_tuning/jobs", json={"model": model, "training_file": file})


@pytest.mark.parametrize(
    "asked, called", [("gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18"), ("house", "starter"), ("starter", "starter")]
)
def test_what_is_tuned_of_one_of_openais_names_keeps_it(platform: Platform, client: TestClient, asked: str, called: str):
    """litellm, and DSPy through it, ask `ft:gpt-4o-mini…` of OpenAI's interface without being told to; other aliases are ours alone."""
    if asked != "starter":
        platform.models.set_alias(asked, "starter")
    made = asked_for(client, asked).json()
    assert made["model"] == "starter"
    told = platform.tunings.get(made["id"])
    assert told is not None
    assert model_name(told[1].base, "default", None, made["id"]).startswith(f"ft:{called}:luthier::")


def test_all_of_openais_names_can_stand_for_one_model(platform: Platform, client: TestClient):
    """As `luthier serve --alias openai=starter` says it; saying it again changes nothing."""
    for _ in range(2):
        assert let_stand(platform.models, "openai=starter") == list(NAMES)
    assert platform.models.aliases() == dict.fromkeys(NAMES, "starter")
    listed = {model["id"] for model in client.get("/v1/models").json()["data"]}
    assert listed == {"starter", *NAMES} and "gpt-4o-mini-2024-07-18" in listed
    assert {asked_for(client, name).json()["model"] for name in NAMES} == {"starter"}


def test_a_folder_becomes_a_base_that_names_can_stand_for(platform: Platform, toy_folder: Path):
    assert let_stand(platform.models, f"house={toy_folder}") == ["house"]
    assert platform.models.find("house", "default").base == str(toy_folder)


@pytest.mark.parametrize("given", ["starter", "=starter", "house=", "starter=starter", "house=/nowhere/at/all", "ft:a b=starter"])
def test_what_can_stand_for_nothing_is_refused(platform: Platform, given: str):
    with pytest.raises(UserError):
        let_stand(platform.models, given)
    assert platform.models.aliases() == {}


def test_a_model_that_is_not_here_is_refused_in_openais_words_and_with_the_way_out(platform: Platform, client: TestClient):
    """The old name of a tuned model, which some client still holds; the sentence's own command makes it work."""
    error = error_of(asked_for(client, OLD), 400)
    assert error["message"].startswith(f"Model {OLD} is not available for fine-tuning or does not exist. ")
    assert f"luthier models alias {OLD} starter" in error["message"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, "model_not_available")
    let_stand(platform.models, f"{OLD}=starter")
    assert asked_for(client, OLD).json()["model"] == "starter"


def test_the_old_name_of_a_tuned_model_can_stand_for_what_was_tuned_here(platform: Platform, client: TestClient):
    """It is found by both names and gone on from by both."""
    base = platform.models.find("starter", "default").base
    row = {"name": TUNED, "project": "default", "job": "ftjob-1", "base": base, "kind": "adapter", "weights": {}, "lineage": {}}
    with platform.database.write() as connection:
        connection.execute(insert(models).values(**row, created_at=1.0))
    assert let_stand(platform.models, f"{OLD}={TUNED}") == [OLD]
    assert platform.models.find(OLD, "default") == platform.models.find(TUNED, "default")
    assert {asked_for(client, name).json()["model"] for name in (OLD, TUNED)} == {TUNED}
    assert client.get(f"/v1/models/{OLD}").json()["id"] == OLD
