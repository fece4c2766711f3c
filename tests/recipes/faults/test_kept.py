"""Findings of large files are kept by content, and found again where anything that decides them changed."""

from pathlib import Path

import pytest

from luthier.recipes.faults import kept as keeping
from luthier.recipes.faults.kept import kept
from luthier.spec.finding import Finding
from luthier.spec.run import DataSource


class Finder:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> list[Finding]:
        self.asked += 1
        return [Finding("warning", "duplicate-rows", "Two rows are one.", 2, ("a.txt:3",))]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSource:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(keeping, "SMALLEST_KEPT_BYTES", 4)
    (tmp_path / "a.txt").write_text("Once there was a baker.\n", encoding="utf-8")
    return DataSource(path=str(tmp_path / "a.txt"))


def test_the_second_time_it_is_read_from_where_it_is_kept(source: DataSource):
    find = Finder()
    first, second = (kept({"train": [source]}, "marks", find) for _ in range(2))
    assert first == second == find()
    assert find.asked == 2


def test_other_content_another_use_and_other_marks_are_found_anew(source: DataSource):
    find = Finder()
    kept({"train": [source]}, "marks", find)
    kept({"train": [source]}, "other marks", find)
    kept({"validation": [source]}, "marks", find)
    Path(source.path).write_text("Once there was another.\n", encoding="utf-8")
    kept({"train": [source]}, "marks", find)
    assert find.asked == 4


def test_what_is_damaged_is_found_anew(source: DataSource, tmp_path: Path):
    find = Finder()
    kept({"train": [source]}, "marks", find)
    (header,) = (tmp_path / "cache").rglob("header.json")
    header.write_text(header.read_text(encoding="utf-8").replace("Two rows", "No rows"), encoding="utf-8")
    assert kept({"train": [source]}, "marks", find)[0].message == "Two rows are one."
    assert find.asked == 2


def test_small_files_and_formats_of_ones_own_are_read_each_time(source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    find = Finder()
    own = source.model_copy(update={"format": str(tmp_path / "mine.py")})
    for _ in range(2):
        kept({"train": [own]}, "marks", find)
    monkeypatch.setattr(keeping, "SMALLEST_KEPT_BYTES", 4000)
    for _ in range(2):
        kept({"train": [source]}, "marks", find)
    assert find.asked == 4
