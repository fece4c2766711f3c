"""Files and fine-tuning jobs with Azure's own client, which says its key and its paths in other ways than OpenAI's."""

import openai
import pytest
from starlette.testclient import TestClient
from tests.gateway import key_for

from luthier.api.app import create_app
from luthier.api.platform import Platform

ROWS = b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n'


@pytest.fixture(params=["2024-10-21", "2025-04-01-preview"])
def azure(platform: Platform, request: pytest.FixtureRequest) -> openai.AzureOpenAI:
    http = TestClient(create_app(platform), base_url="http://testserver")
    return openai.AzureOpenAI(
        azure_endpoint="http://testserver", api_key=key_for(platform), api_version=request.param, http_client=http, max_retries=0
    )


def test_files(azure: openai.AzureOpenAI):
    file = azure.files.create(file=("train.jsonl", ROWS), purpose="fine-tune")
    assert azure.files.wait_for_processing(file.id).status == "processed"
    assert azure.files.retrieve(file.id) == file and [one.id for one in azure.files.list()] == [file.id]
    assert azure.files.content(file.id).content == ROWS
    assert azure.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
        azure.files.retrieve(file.id)


def test_fine_tuning_jobs(azure: openai.AzureOpenAI):
    file = azure.files.create(file=("train.jsonl", ROWS), purpose="fine-tune")
    job = azure.fine_tuning.jobs.create(model="starter", training_file=file.id, hyperparameters={"n_epochs": 2}, suffix="azure")
    assert (job.status, job.training_file, job.hyperparameters.n_epochs) == ("validating_files", file.id, 2)
    assert azure.fine_tuning.jobs.retrieve(job.id).id == job.id and [one.id for one in azure.fine_tuning.jobs.list()] == [job.id]
    assert f"Created fine-tuning job: {job.id}" in {event.message for event in azure.fine_tuning.jobs.list_events(job.id)}
    assert list(azure.fine_tuning.jobs.checkpoints.list(job.id)) == []
    assert azure.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="has already cancelled and cannot be cancelled"):
        azure.fine_tuning.jobs.cancel(job.id)
    with pytest.raises(openai.BadRequestError) as refused:
        azure.fine_tuning.jobs.create(model="nope", training_file=file.id)
    assert refused.value.code == "model_not_available"


def test_a_wrong_key(azure: openai.AzureOpenAI):
    with pytest.raises(openai.AuthenticationError) as refused:
        azure.with_options(api_key="lt-wrong").fine_tuning.jobs.list()
    assert refused.value.code == "invalid_api_key"
