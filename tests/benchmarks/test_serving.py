"""The load benchmarks work, and a minute of mixed load leaves nothing behind."""

from pathlib import Path

import pytest

from benchmarks import mixed_load, serving


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_luthier_is_measured_under_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--shapes", "tiny", "--clients", "2", "--adapters", "2", "--seconds", "1", "--rounds", "1", "--no-peer"]
    serving.main([*given, "--cache", str(tmp_path)])
    told = capsys.readouterr().out
    assert (tmp_path / "quick" / "serving.md").read_text() in told
    shape, clients, adapters, speed, *_ = [cell.strip() for cell in told.splitlines()[-3].strip("| ").split("|")]
    assert (shape, clients, adapters) == ("tiny", "2", "2")
    assert float(speed.replace(",", "")) > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_of_mixed_load_leaves_nothing_behind(tmp_path: Path) -> None:
    """Half a minute of warm-up, in which everything happens once, and half a minute that is measured."""
    outcome = mixed_load.run(30.0, tmp_path / "mixed")
    assert not outcome.faults, "\n".join(outcome.faults[:10])
    answers = outcome.seen.answers
    assert all(answers[kind, 200] for kind in ("chat", "stream", "completion", "json", "embedding", "models", "file", "crowd", "slow"))
    assert answers["crowd", 429] and answers["vanish", 0] and answers["silent", 0] and answers["large", 413] and answers["malformed", 400]
