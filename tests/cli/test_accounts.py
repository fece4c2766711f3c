"""`luthier keys` and `luthier projects` as somebody types them."""

import json
import re
from pathlib import Path

import pytest

from luthier.accounts.accounts import Accounts, KeyRefused
from luthier.accounts.audit import entries
from luthier.store.home import Home


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LUTHIER_DATABASE", raising=False)
    monkeypatch.delenv("LUTHIER_SECRET", raising=False)
    return tmp_path / "home"


def accounts() -> Accounts:
    opened = Home()
    return Accounts(opened.database, opened.secret)


def test_a_key_stands_alone_on_stdout_and_opens_the_platform(luthier, home: Path):
    code, out, err = luthier("keys", "create", "--role", "member", "--name", "laptop", "--days", 30)
    assert code == 0 and re.fullmatch(r"lt-[A-Za-z0-9]{40}\n", out)
    assert re.search(r"key_\w{16}: member of default, until \d{4}-\d\d-\d\d \d\d:\d\d\. The key is shown this once\.", err)
    assert accounts().admit(out.strip()).caller.role == "member"
    assert (home / "secret").stat().st_mode & 0o777 == 0o600


def test_keys_are_listed_and_revoked(luthier):
    made = json.loads(luthier("keys", "create", "--json")[1])
    luthier("keys", "create", "--role", "auditor", "--all", "--name", "the [bold]office")
    code, out, err = luthier("keys", "list")
    assert (code, err) == (0, "") and "every" in out and "the [bold]office" in out and made["hint"] in out and made["value"] not in out
    code, out, _ = luthier("keys", "revoke", made["id"])
    assert code == 0 and out == f"{made['id']}  {made['hint']}  revoked\n"
    assert "already revoked" in luthier("keys", "revoke", made["id"])[1]
    with pytest.raises(KeyRefused):
        accounts().admit(made["value"])
    listed = json.loads(luthier("keys", "list", "--json")[1])
    assert [key["status"] for key in listed] == ["active", "revoked"] and "value" not in listed[0]
    assert [entry.action for entry in entries(accounts().database, "default")] == ["keys.revoke", "keys.create", "keys.create"]


def test_a_project_is_made_shown_and_given_limits(luthier):
    code, out, _ = luthier("projects", "create", "team-a", "max_files_bytes=10GB")
    assert code == 0 and "luthier keys create --project team-a --role member" in out
    luthier("keys", "create", "--project", "team-a", "--role", "member")
    code, out, _ = luthier("projects", "set", "team-a", "requests_per_minute=1_000", "trained_tokens_per_month=2M", "max_files_bytes=none")
    assert code == 0 and re.search(r"requests_per_minute +1,000", out) and re.search(r"trained_tokens_per_month +0 +2,000,000", out)
    code, out, _ = luthier("projects", "set", "team-a", "log_requests=true", 'redact=["[a-z]+"]')
    assert code == 0 and re.search(r"log_requests +true", out) and '["[a-z]+"]' in out
    shown = json.loads(luthier("projects", "show", "team-a", "--json")[1])
    assert shown["settings"]["requests_per_minute"] == 1000 and shown["settings"]["max_files_bytes"] is None
    assert shown["usage"] == {"open_jobs": 0, "files_bytes": 0, "trained_tokens": 0}
    code, out, _ = luthier("projects", "list")
    assert code == 0 and re.search(r"team-a +proj_\w+ +1 +0 +0 B", out)
    assert [project["name"] for project in json.loads(luthier("projects", "list", "--json")[1])] == ["default", "team-a"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["keys", "create", "--role", "admim"], "Did you mean `admin`?"),
        (["keys", "create", "--project", "defaul"], "There is no project defaul. Did you mean `default`?"),
        (["keys", "create", "--role", "member", "--all"], "not of a `member`"),
        (["keys", "revoke", "laptop"], "A key is named by its id"),
        (["projects", "set", "default", "max_open_job=5"], "Did you mean `max_open_jobs`?"),
        (["projects", "set", "default", "max_open_jobs=five"], "`max_open_jobs` is 'five', but it should be a valid integer"),
        (["projects", "set", "default", "max_open_jobs"], "should be key=value"),
        (["projects", "set", "default", "redact=[x]"], "is no JSON"),
        (["projects", "set", "default", 'redact=["("]'], "is no regular expression"),
        (["projects", "create", "my project"], "cannot be a project's name"),
    ],
)
def test_mistakes_are_sentences(luthier, arguments: list[str], said: str):
    code, out, err = luthier(*arguments)
    assert code == 1 and out == "" and said in err


def test_with_a_secret_of_the_environment_keys_hold_on_every_machine(luthier, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LUTHIER_SECRET", "shared by the gateways")
    _, out, _ = luthier("keys", "create")
    assert not (home / "secret").exists() and accounts().admit(out.strip()).caller.role == "admin"
    monkeypatch.setenv("LUTHIER_SECRET", "another one")
    with pytest.raises(KeyRefused):
        accounts().admit(out.strip())
