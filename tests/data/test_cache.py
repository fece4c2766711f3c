"""What is kept on disk: whole or not at all, checked, bounded, private."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from luthier.data import entry as entries
from luthier.data.cache import Cache
from luthier.data.entry import GIB, HEADER, DamagedEntry, NoRoom
from luthier.errors import SettingsError

NUMBERS = np.arange(1000, dtype=np.int32)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache" / "tokens", GIB)


def keep(cache: Cache, key: str, numbers: np.ndarray = NUMBERS) -> Path:
    """In two parts."""
    with cache.making(key) as writer:
        writer.append("numbers", numbers[:10])
        writer.append("numbers", numbers[10:])
        writer.append("none", np.empty(0, np.float32))
        writer.note({"rows": 3})
    return cache.folder / key


def test_what_is_kept_comes_back(cache: Cache) -> None:
    assert cache.open("a") is None
    keep(cache, "a")
    entry = cache.open("a")
    assert entry is not None and entry.about == {"rows": 3}
    assert np.array_equal(entry.arrays["numbers"], NUMBERS) and entry.arrays["numbers"].dtype == np.int32
    assert entry.arrays["none"].dtype == np.float32 and len(entry.arrays["none"]) == 0
    assert not entry.arrays["numbers"].flags.writeable


def test_only_its_owner_can_look_at_it(cache: Cache) -> None:
    path = keep(cache, "a")
    assert cache.folder.stat().st_mode & 0o077 == 0 and path.stat().st_mode & 0o077 == 0


def test_a_folder_that_others_can_write_to_is_not_trusted(cache: Cache) -> None:
    keep(cache, "a")
    cache.folder.chmod(0o777)
    assert cache.open("a") is None
    with pytest.raises(NoRoom, match="can be written to by others"):
        keep(cache, "b")


def test_half_an_entry_is_none(cache: Cache) -> None:
    def interrupted() -> None:
        with cache.making("a") as writer:
            writer.append("numbers", NUMBERS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert cache.open("a") is None and list(cache.folder.iterdir()) == []


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda path: flip(path / "numbers.bin", 2000), r"numbers\.bin is not as it was written"),
        (lambda path: flip(path / HEADER, 90), r"header\.json is not as it was written"),
        (lambda path: os.truncate(path / "numbers.bin", 3999), r"numbers\.bin has 3,999 bytes"),
        (lambda path: os.truncate(path / HEADER, 0), r"header\.json is not as it was written"),
        (lambda path: (path / "numbers.bin").unlink(), r"numbers\.bin is missing"),
        (lambda path: (path / HEADER).unlink(), r"header\.json is missing"),
    ],
)
def test_damage_is_named(cache: Cache, damage: object, said: str) -> None:
    damage(keep(cache, "a"))  # type: ignore[operator]
    with pytest.raises(DamagedEntry, match=said):
        cache.open("a")
    cache.remove("a")
    assert cache.open("a") is None
    keep(cache, "a")
    assert cache.open("a") is not None


def test_a_large_array_is_not_read_through(cache: Cache) -> None:
    """Its length is looked at, its content is for the caller to check."""
    flip(keep(cache, "a") / "numbers.bin", 2000)
    assert cache.open("a", unread=frozenset({"numbers"})) is not None


def test_what_was_not_used_for_longest_goes_first(cache: Cache) -> None:
    """4,000 bytes and a header of less than 400 each; two have room, and `a` was used again after `b`."""
    small = Cache(cache.folder, 10_000)
    for age, key in enumerate(["a", "b"]):
        os.utime(keep(small, key), (age, age))
    assert small.open("a") is not None
    keep(small, "c")
    assert [small.open(key) is not None for key in "abc"] == [True, False, True]
    assert small.num_entries == 2 and 8000 < small.size_bytes < 10_000


def test_an_entry_larger_than_the_bound_is_not_kept(cache: Cache) -> None:
    with pytest.raises(NoRoom, match="more than LUTHIER_CACHE_GIB allows"):
        keep(Cache(cache.folder, 3999), "a")
    with pytest.raises(NoRoom, match="LUTHIER_CACHE_GIB is 0"):
        keep(Cache(cache.folder, 0), "a")
    assert cache.num_entries == 0


def test_room_is_left_on_the_disk(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "RESERVE_BYTES", 2**60)
    with pytest.raises(NoRoom, match="is free on the disk"), cache.making("a") as writer:
        writer.check_room()


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoRoom, match="cannot be written to"):
        keep(Cache(tmp_path / "file" / "tokens", GIB), "a")


def test_an_entry_in_use_can_be_removed(cache: Cache) -> None:
    keep(cache, "a")
    entry = cache.open("a")
    assert cache.clear() > 4000 and cache.num_entries == 0
    assert entry is not None and np.array_equal(entry.arrays["numbers"], NUMBERS)


def test_of_two_that_make_the_same_entry_the_first_wins_and_both_go_on(cache: Cache) -> None:
    with cache.making("a") as writer:
        writer.append("numbers", NUMBERS)
        keep(cache, "a", NUMBERS + 1)
    mine, kept = writer.entry, cache.open("a")
    assert mine is not None and np.array_equal(mine.arrays["numbers"], NUMBERS)
    assert kept is not None and np.array_equal(kept.arrays["numbers"], NUMBERS + 1)
    assert cache.num_entries == 1 and len(list(cache.folder.iterdir())) == 1


KILLED = """
import os, sys, numpy as np
from pathlib import Path
from luthier.data.cache import Cache
with Cache(Path(sys.argv[1]), 2**30).making("a") as writer:
    writer.append("numbers", np.arange(10))
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_swept_away_and_what_a_live_one_writes_is_not(cache: Cache) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(cache.folder)], check=False)
    assert len(list(cache.folder.iterdir())) == 1 and cache.open("a") is None
    with cache.making("b") as writer:
        writer.append("numbers", NUMBERS)
        keep(cache, "c")
        assert len(list(cache.folder.iterdir())) == 2
    assert sorted(path.name for path in cache.folder.iterdir()) == ["b", "c"]


def test_where_it_lies_follows_from_the_environment() -> None:
    assert Cache.of_user("tokens", {"LUTHIER_CACHE": "/x"}) == Cache(Path("/x/tokens"), 20 * GIB)
    assert Cache.of_user("tokens", {"XDG_CACHE_HOME": "/y", "LUTHIER_CACHE_GIB": "1.5"}) == Cache(Path("/y/luthier/tokens"), 3 * GIB // 2)
    assert Cache.of_user("tokens", {}).folder == Path.home() / ".cache/luthier/tokens"
    with pytest.raises(SettingsError, match="LUTHIER_CACHE_GIB is 'much'"):
        Cache.of_user("tokens", {"LUTHIER_CACHE_GIB": "much"})
