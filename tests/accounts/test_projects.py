"""Projects, and how much each may have."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, select

from luthier.accounts.accounts import Accounts
from luthier.accounts.projects import ProjectError, ProjectSettings
from luthier.errors import SettingsError
from luthier.jobs.queue import Asked, Queue
from luthier.store.database import Database, now
from luthier.store.tables import files, jobs, tunings


def test_a_project_is_found_by_its_id_and_its_name(accounts: Accounts):
    made = accounts.projects.create("team-a", {"max_open_jobs": 2})
    assert made.id.startswith("proj_") and made.settings == ProjectSettings(max_open_jobs=2)
    assert accounts.projects.get("team-a") == accounts.projects.get(made.id) == made
    assert [project.name for project in accounts.projects.all()] == ["default", "team-a"]


def test_settings_are_changed_one_by_one_and_taken_away(accounts: Accounts):
    accounts.projects.create("team-a", {"max_open_jobs": 2})
    assert accounts.projects.change("team-a", {"tokens_per_minute": 9}).settings == ProjectSettings(max_open_jobs=2, tokens_per_minute=9)
    assert accounts.projects.change("team-a", {"max_open_jobs": None}).settings == ProjectSettings(tokens_per_minute=9)
    assert accounts.projects.change("team-a", {"log_days": 5, "redact": ["x+"]}).settings.redact == ("x+",)
    assert accounts.projects.change("team-a", {"log_days": None, "redact": None}).settings == ProjectSettings(tokens_per_minute=9)


@pytest.mark.parametrize("name", ["", "a b", "../a", "a/b", "-a", "a" * 65, "proj_a", "a\n", "größe"])
def test_what_cannot_be_a_name_is_refused(accounts: Accounts, name: str):
    with pytest.raises(ProjectError, match="cannot be a project's name"):
        accounts.projects.create(name)


def test_names_are_taken_once(accounts: Accounts):
    with pytest.raises(ProjectError, match="There is a project default already"):
        accounts.projects.create("default")
    with pytest.raises(ProjectError, match=r"no project defalt. Did you mean `default`\?"):
        accounts.projects.get("defalt")


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"max_jobs": 3}, "no setting `max_jobs`. Did you mean `max_open_jobs`?"),
        ({"max_open_jobs": -1}, "`max_open_jobs` is -1, but it should be greater than or equal to 0."),
        ({"requests_per_minute": "many"}, "`requests_per_minute` is 'many', but it should be a valid integer"),
        ({"redact": ["("]}, "`redact.0` is '(': is no regular expression: missing ), unterminated subpattern"),
        ({"requests_per_minute": 1.5}, "`requests_per_minute` is 1.5, but it should be a valid integer"),
    ],
)
def test_a_setting_that_is_none_is_named(accounts: Accounts, settings: dict[str, Any], said: str):
    with pytest.raises(SettingsError, match=re.escape(said)):
        accounts.projects.change("default", settings)
    assert accounts.projects.get("default").settings == ProjectSettings()


def test_jobs_that_have_not_ended_are_counted(accounts: Accounts, database: Database):
    team, queue = accounts.projects.create("team-a", {"max_open_jobs": 2}), Queue(database)
    assert accounts.may_create_job(team.id) is None
    first = queue.submit(Asked("check", "a", "/a", team.id))
    queue.submit(Asked("check", "b", "/b", team.id))
    queue.submit(Asked("check", "c", "/c"))  # of another project
    told = accounts.may_create_job(team.id)
    assert told is not None and "team-a has 2 jobs that have not ended, and may have 2." in told
    queue.cancel(first.id)
    assert accounts.may_create_job(team.id) is None and accounts.usage(team.id).open_jobs == 1
    assert accounts.may_create_job("default") is None


def trained(database: Database, project: str, tokens: int, finished_at: float) -> None:
    """A job that has ended."""
    job = Queue(database).submit(Asked("tune", "a", "/a", project))
    row = {"model": "m", "base": "m", "method": {}, "training_file": "f", "seed": 1, "trained_tokens": tokens}
    with database.write() as connection:
        connection.execute(insert(tunings).values(job=job.id, **row))
        connection.execute(jobs.update().where(jobs.c.id == job.id).values(status="succeeded", finished_at=finished_at))


def test_a_budget_of_tokens_is_for_a_month(accounts: Accounts, database: Database):
    """What ended before the first of this month does not count; nor what other projects trained."""
    accounts.projects.change("default", {"trained_tokens_per_month": 1000})
    with database.read() as connection:
        at = float(connection.execute(select(now())).scalar_one())
    first = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    trained(database, "default", 5000, first - 1)
    trained(database, "default", 999, first)
    trained(database, accounts.projects.create("b").id, 7777, at)
    assert accounts.usage("default").trained_tokens == 999 and accounts.may_create_job("default") is None
    trained(database, "default", 1, at)
    told = accounts.may_create_job("default")
    assert told is not None and "has trained 1,000 tokens this month; its budget is 1,000" in told


def test_files_are_counted_by_their_bytes(accounts: Accounts, database: Database):
    row = {"purpose": "fine-tune", "filename": "a.jsonl", "sha256": "0" * 64, "created_at": 0.0}
    with database.write() as connection:
        connection.execute(insert(files).values(id="file-1", project="default", bytes=3_000_000_000, **row))
        connection.execute(insert(files).values(id="file-2", project="b", bytes=9_000_000_000, **row))
    assert accounts.may_store("default", 10**15) is None
    accounts.projects.change("default", {"max_files_bytes": 4_000_000_000})
    assert accounts.may_store("default", 1_000_000_000) is None
    told = accounts.may_store("default", 1_000_000_001)
    assert told is not None and "has files of 3,000,000,000 bytes, and may have 4,000,000,000: 1,000,000,001 more are too many" in told


def test_limits_hold_within_seconds(accounts: Accounts):
    """They come with the key."""
    from luthier.accounts.keys import Wanted

    _, key = accounts.keys.create(Wanted())
    assert accounts.admit(key).settings.requests_per_minute is None
    accounts.projects.change("default", {"requests_per_minute": 5})
    assert accounts.admit(key).settings.requests_per_minute == 5
