"""The record of who did what: with the change or not at all, without secrets, only ever added to."""

from typing import Any

import pytest

from luthier.accounts.accounts import Accounts
from luthier.accounts.audit import entries, note, without_secrets
from luthier.accounts.keys import Wanted
from luthier.accounts.roles import Caller, at_this_machine
from luthier.store.database import Database

ANN = Caller("default", "key_1", "member")


def test_a_line_says_who_did_what_to_what(database: Database):
    note(database, ANN, "files.delete", "file-1", {"bytes": 3}, "req_1")
    note(database, at_this_machine("default"), "keys.create", "key_2")
    shell, api = entries(database, "default")
    assert (api.key, api.action, api.subject, api.details, api.request) == ("key_1", "files.delete", "file-1", {"bytes": 3}, "req_1")
    assert (shell.key, shell.details, shell.request) == (None, {}, None) and shell.number > api.number and shell.at >= api.at


def test_it_is_kept_with_the_change_or_not_at_all(database: Database):
    def broken_off() -> None:
        with database.write() as connection:
            note(connection, ANN, "files.delete", "file-1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert entries(database, "default") == []


def test_lines_are_picked_and_paged(database: Database):
    for number in range(3):
        note(database, ANN, "files.delete", f"file-{number}")
        note(database, Caller("default", "key_2", "admin"), "jobs.cancel", f"ftjob-{number}")
        note(database, Caller("other", "key_3", "admin"), "files.delete", "x")
    assert [entry.subject for entry in entries(database, "default", action="files")] == ["file-2", "file-1", "file-0"]
    assert [entry.subject for entry in entries(database, "default", action="file")] == []
    assert [entry.subject for entry in entries(database, "default", action="jobs.cancel", limit=1)] == ["ftjob-2"]
    assert [entry.subject for entry in entries(database, "default", key="key_2")] == ["ftjob-2", "ftjob-1", "ftjob-0"]
    first = entries(database, "default", 4)
    assert [entry.subject for entry in entries(database, "default", 4, before=first[-1].number)] == ["ftjob-0", "file-0"]


def test_secrets_are_never_in_it(accounts: Accounts, database: Database):
    _, key = accounts.keys.create(Wanted())
    told: dict[str, Any] = {
        "note": f"with {key}, thanks",
        "deep": [{"wandb": {"api_key": "x1", "project": "p"}}],
        "Authorization": "Bearer y",
    }
    note(database, ANN, "jobs.create", key, told)
    (entry,) = entries(database, "default")
    assert entry.subject == f"{key[:5]}…{key[-2:]}"
    assert entry.details == {
        "note": f"with {key[:5]}…{key[-2:]}, thanks",
        "deep": [{"wandb": {"api_key": "…", "project": "p"}}],
        "Authorization": "…",
    }


@pytest.mark.parametrize(
    "value, shown", [("sk-proj-" + "a" * 30, "sk-pr…aa"), ("hf_" + "b" * 30, "hf_bb…bb"), ("task-1", "task-1"), (3.5, 3.5), (None, None)]
)
def test_what_looks_like_a_key_is_shortened(value: Any, shown: Any):
    assert without_secrets(value) == shown


def test_long_texts_are_cut():
    assert len(without_secrets("a b" * 1000)) == 501
