"""Keys: shown once, kept as digests, let in for a few seconds without asking, refused within seconds once revoked."""

import re
import threading

import pytest
from sqlalchemy import event, select, text, update
from tests.accounts.conftest import Clock

from luthier.accounts.accounts import NOTED_EVERY_S, REMEMBERED_S, Accounts, KeyRefused, ProjectRefused
from luthier.accounts.audit import entries
from luthier.accounts.keys import KeyFault, Wanted, shortened
from luthier.store.database import Database, now
from luthier.store.tables import keys, metadata


def test_a_key_lets_its_caller_in(accounts: Accounts):
    known, key = accounts.keys.create(Wanted(role="member", name="laptop"))
    assert re.fullmatch(r"lt-[A-Za-z0-9]{40}", key)
    assert (known.hint, known.status, known.created_by) == (f"{key[:5]}…{key[-2:]}", "active", None)
    caller = accounts.admit(key).caller
    assert (caller.project, caller.key, caller.role, caller.everywhere) == ("default", known.id, "member", False)


def test_the_database_holds_nothing_that_opens_anything(accounts: Accounts, database: Database):
    """Neither the key, nor a digest that could be found without the secret."""
    _, key = accounts.keys.create(Wanted())
    with database.read() as connection:
        held = str([tuple(row) for table in metadata.sorted_tables for row in connection.execute(select(table))])
    assert key not in held and key[10:30] not in held and accounts.keys.digest(key) in held
    with pytest.raises(KeyRefused):
        Accounts(database, b"another secret").admit(key)
    with pytest.raises(KeyRefused):
        accounts.admit(accounts.keys.digest(key))


@pytest.mark.parametrize("key", ["", "lt-", "sk-abc", "lt-" + "a" * 40, "ключ", "' OR 1=1 --", "a\x00b"])
def test_what_is_no_key_is_refused(accounts: Accounts, key: str):
    accounts.keys.create(Wanted())
    with pytest.raises(KeyRefused):
        accounts.admit(key)


def test_a_key_is_remembered_for_a_few_seconds(accounts: Accounts, database: Database, clock: Clock):
    _, key = accounts.keys.create(Wanted())
    assert accounts.remembered(key) is None
    admitted = accounts.admit(key)
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert accounts.remembered(key) == admitted and asked == []
    clock.at += REMEMBERED_S
    assert accounts.remembered(key) is None


def test_a_revoked_key_is_refused_here_at_once_and_elsewhere_within_seconds(accounts: Accounts, database: Database, clock: Clock):
    elsewhere = Accounts(database, b"a secret", clock)
    known, key = accounts.keys.create(Wanted())
    accounts.admit(key), elsewhere.admit(key)
    assert accounts.revoke(known.id).status == "revoked"
    assert accounts.remembered(key) is None
    with pytest.raises(KeyRefused, match=r"It was revoked on \d{4}-\d\d-\d\d \d\d:\d\d UTC."):
        accounts.admit(key)
    assert elsewhere.remembered(key) is not None
    clock.at += REMEMBERED_S
    assert elsewhere.remembered(key) is None
    with pytest.raises(KeyRefused):
        elsewhere.admit(key)


def test_a_key_ends_on_its_day_and_is_not_remembered_beyond(accounts: Accounts, database: Database, clock: Clock):
    known, key = accounts.keys.create(Wanted(days=1.0 / 86_400))  # a second
    admitted = accounts.admit(key)
    assert clock.at < admitted.until <= clock.at + 1
    with database.write() as connection:
        connection.execute(update(keys).where(keys.c.id == known.id).values(expires_at=now() - 1))
    with pytest.raises(KeyRefused, match="It was good until"):
        accounts.admit(key)
    assert accounts.keys.get(known.id).status == "expired"


def test_its_use_is_noted_once_a_minute(accounts: Accounts, database: Database):
    known, key = accounts.keys.create(Wanted())
    accounts.admit(key)
    first = accounts.keys.get(known.id).last_used_at
    accounts.admit(key)
    assert first is not None and accounts.keys.get(known.id).last_used_at == first
    with database.write() as connection:
        connection.execute(update(keys).values(last_used_at=now() - NOTED_EVERY_S - 1))
    accounts.admit(key)
    again = accounts.keys.get(known.id).last_used_at
    assert again is not None and again >= first


def test_a_database_that_cannot_be_written_lets_known_keys_in(accounts: Accounts, database: Database, caplog: pytest.LogCaptureFixture):
    """A full disk stops nobody from reading. That the key was used cannot be noted, and the log says so without naming the key itself."""
    if not database.is_sqlite:
        pytest.skip("written for SQLite's query_only")
    _, key = accounts.keys.create(Wanted())
    event.listen(database.engine, "connect", lambda connection, record: connection.execute("PRAGMA query_only = ON"))
    database.engine.dispose()
    assert accounts.admit(key).caller.role == "admin"
    assert "could not be noted" in caplog.text and key not in caplog.text


def test_the_first_key_is_made_once(accounts: Accounts, database: Database):
    """By one of several gateways that start at the same moment."""
    made: list[str | None] = []
    gateways = [threading.Thread(target=lambda: made.append(Accounts(database, b"a secret").first_key())) for _ in range(4)]
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.join()
    (key,) = [key for key in made if key is not None]
    caller = accounts.admit(key).caller
    assert (caller.role, caller.everywhere) == ("admin", True)
    assert accounts.first_key() is None
    assert [(entry.key, entry.action, entry.subject) for entry in entries(database, "default")] == [(None, "keys.create", caller.key)]


def test_keys_that_open_nothing_do_not_count_and_make_no_new_first_one(accounts: Accounts):
    assert not accounts.has_keys()
    known, _ = accounts.keys.create(Wanted())
    assert accounts.has_keys()
    accounts.revoke(known.id)
    assert not accounts.has_keys() and accounts.first_key() is None


@pytest.mark.parametrize(
    "wanted, said",
    [
        (Wanted(role="admni"), "no role `admni`. Did you mean `admin`?"),
        (Wanted(role="member", everywhere=True), "a key for every project is that of an `admin` or `auditor`, not of a `member`"),
        (Wanted(project="nowhere"), "no project nowhere"),
        (Wanted(days=0), "cannot end after 0 days"),
        (Wanted(days=float("nan")), "cannot end after nan days"),
        (Wanted(name="a\nb"), "on one line"),
        (Wanted(name="a" * 101), "at most 100 characters"),
    ],
)
def test_what_cannot_be_a_key_is_told(accounts: Accounts, wanted: Wanted, said: str):
    with pytest.raises(KeyFault, match=f"(?i){re.escape(said)}"):
        accounts.keys.create(wanted)
    assert accounts.keys.of() == []


def test_keys_are_listed_in_pages_the_newest_first(accounts: Accounts, database: Database):
    made = [accounts.keys.create(Wanted(name=str(number)))[0].id for number in range(5)]
    with database.write() as connection:
        connection.execute(text("UPDATE keys SET created_at = 7.0"))  # of one moment: by their ids, then
    seen: list[str] = []
    while page := accounts.keys.of("default", 2, seen[-1] if seen else None):
        seen += [key.id for key in page]
    assert seen == sorted(made, reverse=True)


def test_a_key_for_every_project_chooses_one_and_others_cannot(accounts: Accounts):
    theirs = accounts.projects.create("theirs")
    _, everywhere = accounts.keys.create(Wanted(role="auditor", everywhere=True))
    _, own = accounts.keys.create(Wanted(role="auditor"))
    assert accounts.in_project(accounts.admit(everywhere).caller, "theirs").project == theirs.id
    assert accounts.in_project(accounts.admit(own).caller, "default").project == "default"
    with pytest.raises(ProjectRefused, match="There is no project them"):
        accounts.in_project(accounts.admit(everywhere).caller, "them")
    messages = []
    for name in ("theirs", "nothing"):
        with pytest.raises(ProjectRefused) as refused:
            accounts.in_project(accounts.admit(own).caller, name)
        messages.append(str(refused.value).replace(name, "…"))
    assert messages[0] == messages[1], "whether there is such a project is nobody else's business"


@pytest.mark.parametrize("key, shown", [("lt-abcdefghijklmnopqrstuvwxyz", "lt-ab…yz"), ("sk-short", "sk…"), ("", "…")])
def test_a_key_is_shortened(key: str, shown: str):
    assert shortened(key) == shown
