"""Tuned models that another project may use: asked for with OpenAI's own client, and what each side can do then."""

import openai
import pytest
from openai.types.fine_tuning.checkpoints import PermissionCreateResponse
from sqlalchemy import insert
from starlette.testclient import TestClient

from luthier.accounts.keys import Wanted
from luthier.api.app import create_app
from luthier.api.platform import Platform
from luthier.store.tables import models

TUNED = "ft:starter:org::abcd1234"


@pytest.fixture
def other(platform: Platform) -> str:
    """Another project's id; the default one has a tuned model."""
    starter = platform.models.find("starter", "default")
    row = {"name": TUNED, "project": "default", "job": "ftjob-1", "base": starter.base, "kind": "adapter", "weights": {}, "lineage": {}}
    with platform.database.write() as connection:
        connection.execute(insert(models).values(**row, created_at=1.0))
    return platform.accounts.projects.create("other").id


def asking(platform: Platform, project: str = "default", everywhere: bool = False) -> openai.OpenAI:
    key = platform.accounts.keys.create(Wanted(project, "admin", everywhere=everywhere))[1]
    http = TestClient(create_app(platform), base_url="http://testserver")
    return openai.OpenAI(base_url="http://testserver/v1", api_key=key, http_client=http, max_retries=0)


def test_a_shared_model_is_there_for_the_other_project_until_it_is_taken_back(platform: Platform, other: str):
    owner, guest = asking(platform, everywhere=True), asking(platform, other)
    assert TUNED not in {model.id for model in guest.models.list()}
    permissions = owner.fine_tuning.checkpoints.permissions
    made = list(permissions.create(TUNED, project_ids=["other"]))
    assert [(one.object, one.project_id) for one in made] == [("checkpoint.permission", other)]
    assert isinstance(made[0], PermissionCreateResponse) and made[0].id.startswith("cp_")
    assert TUNED in {model.id for model in guest.models.list()} and guest.models.retrieve(TUNED).id == TUNED
    assert permissions.delete(made[0].id, fine_tuned_model_checkpoint=TUNED).deleted
    assert TUNED not in {model.id for model in guest.models.list()}
    assert list(permissions.list(TUNED)) == []


def test_sharing_twice_is_sharing_once(platform: Platform, other: str):
    permissions = asking(platform, everywhere=True).fine_tuning.checkpoints.permissions
    first, second = (next(iter(permissions.create(TUNED, project_ids=[other, other]))).id for _ in range(2))
    assert first == second and [one.id for one in permissions.list(TUNED)] == [first]


def test_they_are_paged_by_project_and_order(platform: Platform, other: str):
    ids = [other, *(platform.accounts.projects.create(f"team-{number}").id for number in range(3))]
    permissions = asking(platform, everywhere=True).fine_tuning.checkpoints.permissions
    made = {one.project_id: one.id for one in permissions.create(TUNED, project_ids=ids)}
    page = permissions.list(TUNED, limit=2)
    assert page.has_more and {one.id for one in page} == set(made.values())
    ascending = [one.id for one in permissions.list(TUNED, order="ascending")]
    assert ascending == [one.id for one in permissions.list(TUNED)][::-1]
    assert [one.id for one in permissions.list(TUNED, project_id=other)] == [made[other]]


def test_a_guest_can_neither_delete_nor_share_it_on(platform: Platform, other: str):
    asking(platform, everywhere=True).fine_tuning.checkpoints.permissions.create(TUNED, project_ids=[other])
    guest = asking(platform, other)
    with pytest.raises(openai.PermissionDeniedError, match="is another project's; only that one can delete it"):
        guest.models.delete(TUNED)
    with pytest.raises(openai.PermissionDeniedError, match=r"sharing\.write"):
        guest.fine_tuning.checkpoints.permissions.create(TUNED, project_ids=["default"])
    chosen = asking(platform, everywhere=True).with_options(default_headers={"luthier-project": "other"})
    with pytest.raises(openai.PermissionDeniedError, match="is another project's, which alone can share it"):
        chosen.fine_tuning.checkpoints.permissions.create(TUNED, project_ids=["default"])


@pytest.mark.parametrize(
    "model, projects, said",
    [
        ("starter", ["other"], "is a base, which every project can use already"),
        ("ft:starter:org::unknown1", ["other"], "does not exist"),
        (TUNED, ["nobody"], "There is no project nobody"),
        (TUNED, ["default"], "is this project's own"),
        (TUNED, [], "project_ids"),
    ],
)
def test_what_cannot_be_shared_is_said(platform: Platform, other: str, model: str, projects: list[str], said: str):
    with pytest.raises(openai.APIStatusError, match=said):
        asking(platform, everywhere=True).fine_tuning.checkpoints.permissions.create(model, project_ids=projects)


def test_a_model_that_is_deleted_is_shared_no_longer(platform: Platform, other: str):
    owner = asking(platform, everywhere=True)
    owner.fine_tuning.checkpoints.permissions.create(TUNED, project_ids=[other])
    owner.models.delete(TUNED)
    with pytest.raises(openai.NotFoundError):
        asking(platform, other).models.retrieve(TUNED)
