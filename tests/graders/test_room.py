"""Rooms of sandboxes: those of killed processes are removed by the next, those of living ones never."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from luthier.graders.room import PREFIX, Room, clear

PROGRAM = """
import sys
from pathlib import Path
from luthier.graders.room import Room
room = Room(Path(sys.argv[1]))
print(room.path, flush=True)
sys.stdin.read()
"""


def owner(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process of its own, and the room that it made."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> int:
    """Waited for, its pipes closed."""
    process.communicate()
    return process.returncode


def test_only_what_a_killed_process_left_is_removed(tmp_path: Path):
    """At kill -9 nobody tidies up; the lock of a process that lives is held."""
    killed, left = owner(tmp_path)
    living, held = owner(tmp_path)
    os.kill(killed.pid, signal.SIGKILL)
    assert end(killed) == -signal.SIGKILL
    assert left.is_dir()
    assert clear(tmp_path, grace_s=0) == [left]
    assert held.is_dir() and not left.exists()
    assert end(living) == 0


def test_the_next_room_clears_the_place(tmp_path: Path):
    """Rooms of the last minute stay: their owners may be about to lock them."""
    old, young = tmp_path / f"{PREFIX}old", tmp_path / f"{PREFIX}young"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    room = Room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([young.name, Path(room.path).name])
    room.close()
    assert [path.name for path in tmp_path.iterdir()] == [young.name]


def test_a_room_that_is_not_empty_is_left_alone(tmp_path: Path):
    """It is a place to mount on: whatever stands in it is somebody else's."""
    folder = tmp_path / f"{PREFIX}used"
    folder.mkdir()
    (folder / "thesis.txt").write_text("five years", encoding="utf-8")
    assert clear(tmp_path, grace_s=0) == []
    assert (folder / "thesis.txt").is_file()


def test_a_link_that_is_called_like_a_room_is_left_alone(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "elsewhere")
    assert clear(tmp_path, grace_s=0) == []
    assert (tmp_path / "elsewhere").is_dir()
