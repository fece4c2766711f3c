"""A PostgreSQL server of the tests' own: on loopback, in a temporary folder, gone at the end."""

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = (*sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True), *filter(None, [os.path.dirname(shutil.which("initdb") or "")]))
"""Where Debian keeps them, which is on nobody's PATH; and the PATH."""


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`; None where PostgreSQL is not installed, or a root has nobody to run it as."""
    found = next((Path(folder) for folder in PROGRAMS if (Path(folder) / "initdb").is_file()), None)
    return found if os.getuid() != 0 or shutil.which("runuser") else None


@contextmanager
def server() -> Iterator[str]:
    """The URL of a running server, without the name of a database. PostgreSQL refuses to run as root: then `nobody` runs it."""
    found = programs()
    assert found is not None
    place = Path(tempfile.mkdtemp(prefix="luthier-postgres-"))
    become = []
    if os.getuid() == 0:
        become = ["runuser", "-u", "nobody", "--"]
        shutil.chown(place, "nobody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories= -c fsync=off"
    data = place / "data"
    try:
        _run([*become, found / "initdb", "-D", data, "-U", "luthier", "--auth=trust", "--no-sync"])
        _run([*become, found / "pg_ctl", "-D", data, "-l", place / "log", "-w", "-o", options, "start"])
        try:
            yield f"postgresql://luthier@127.0.0.1:{port}"
        finally:
            _run([*become, found / "pg_ctl", "-D", data, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
