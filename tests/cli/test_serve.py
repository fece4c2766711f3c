"""`luthier serve` where it must not begin."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    for name in ("LUTHIER_DATABASE", "LUTHIER_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "a-machine.example"])
def test_without_a_key_it_listens_to_this_machine_alone(luthier, host: str):
    """Nor is a first key made, which nobody would have seen."""
    for _ in range(2):
        code, out, err = luthier("serve", "--host", host)
        assert (code, out) == (1, "")
        assert f"{host} can be reached from other machines, and there is no key yet. Make one first: luthier keys create" in joined(err)


def test_with_a_key_other_machines_may_ask(luthier):
    """An address that is none of this machine's is refused for that alone: nothing listens in this test."""
    assert luthier("keys", "create")[0] == 0
    code, out, err = luthier("serve", "--host", "192.0.2.7")
    assert (code, out) == (1, "") and "Cannot listen on 192.0.2.7" in err and "no key yet" not in err


@pytest.mark.parametrize(
    ("alias", "said"),
    [
        ("starter", "`--alias starter` should be NAME=MODEL, such as gpt-4o-mini-2024-07-18=starter, or openai=starter for all names."),
        ("openai=/nowhere/at/all", "/nowhere/at/all"),
    ],
)
def test_a_name_that_would_stand_for_nothing_is_refused(luthier, alias: str, said: str):
    code, out, err = luthier("serve", "--alias", alias)
    assert (code, out) == (1, "") and said in joined(err)


def joined(text: str) -> str:
    """Without the line breaks of a narrow terminal."""
    return " ".join(text.split())
