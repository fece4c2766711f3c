"""What every test stands on: no network, one thread, the shared folder where there is one, and a toy model."""

import os

# Before anything imports torch, tokenizers or huggingface_hub: they read these once. Subprocesses of the tests inherit them.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    DO_NOT_TRACK="1",
    WANDB_MODE="offline",
    MLFLOW_DISABLE_TELEMETRY="true",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    NO_COLOR="1",
    COLUMNS="140",
)

import ipaddress
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from luthier.store.database import Database

ROOT = Path(__file__).resolve().parent.parent


class NetworkBlocked(Exception):
    """A test tried to reach another machine. Tests run without a network: use a local file, or a server on 127.0.0.1."""


def _is_loopback(host: Any) -> bool:
    if host in ("localhost", "", None):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False  # a name; to look it up would already be a request


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Connecting to, or looking up, anything but loopback raises `NetworkBlocked`. Unix sockets pass."""
    with pytest.MonkeyPatch.context() as patch:

        def guard_address(original: Callable[..., Any]) -> Callable[..., Any]:
            def connect(self: socket.socket, address: Any) -> Any:
                if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                    raise NetworkBlocked(f"{address[0]}:{address[1]} is another machine.")
                return original(self, address)

            return connect

        def guard_name(original: Callable[..., Any]) -> Callable[..., Any]:
            def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
                if not _is_loopback(host) and host != socket.gethostname():
                    raise NetworkBlocked(f"{host} is another machine.")
                return original(host, *args, **kwargs)

            return getaddrinfo

        patch.setattr(socket.socket, "connect", guard_address(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guard_address(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", guard_name(socket.getaddrinfo))
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that tests learn from is kept among the user's files. Subprocesses of the tests inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, models and templates that lies beside the repository, or where LUTHIER_SHARED says."""
    folder = Path(os.environ.get("LUTHIER_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing; it holds real data and models that the repository does not ship. Set LUTHIER_SHARED.")
    return folder


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 2 layers with byte-level tokenizer and chat template. Read only: tests that change it copy it."""
    from luthier.testing import toy_model

    return toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def roomy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model with a context of 2,048 bytes. Read only."""
    from luthier.testing import CHAT_TEMPLATE, toy_model

    return toy_model(tmp_path_factory.mktemp("roomy"), max_position_embeddings=2048, chat_template=CHAT_TEMPLATE)


@pytest.fixture(scope="session")
def toy_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat JSONL file of 8 rows that the toy model can learn."""
    from luthier.testing import toy_conversations, write_jsonl

    return write_jsonl(tmp_path_factory.mktemp("rows") / "counting.jsonl", toy_conversations())


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory, toy_folder: Path, toy_rows: Path) -> Path:
    """A finished LoRA run of 8 steps on the toy model, with validation and full states after steps 6 and 8. Read only."""
    import luthier

    return luthier.train(
        model=toy_folder,
        data={"train": toy_rows, "validation_share": 0.25},
        out=tmp_path_factory.mktemp("runs") / "toy",
        quiet=True,
        adapter={"rank": 4},
        optimizer={"learning_rate": 0.02},
        train={"epochs": 4, "batch_size": 3, "dtype": "float32"},
        evaluation={"max_new_tokens": 8, "every": 2},
        checkpoints={"every": 2},
    ).path


@pytest.fixture(scope="session")
def toy_full_run(tmp_path_factory: pytest.TempPathFactory, toy_folder: Path, toy_rows: Path) -> Path:
    """A finished run of 4 steps that tuned every weight of the toy model, in bfloat16. Read only."""
    import luthier

    return luthier.train(
        model=toy_folder,
        data=toy_rows,
        out=tmp_path_factory.mktemp("runs") / "full",
        quiet=True,
        adapter="full",
        optimizer={"learning_rate": 0.005},
        train={"batch_size": 2, "dtype": "bfloat16"},
        evaluation={"prompts": []},
        checkpoints={"every": 2},
    ).path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, without the name of a database."""
    from tests.databases import programs, server

    if programs() is None:
        pytest.skip("PostgreSQL is not installed here")
    with server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["Database"]:
    """A new database with all tables, of each kind in turn."""
    from sqlalchemy import text

    from luthier.store.database import Database
    from luthier.store.migrate import migrate

    url = f"sqlite:///{tmp_path / 'l.db'}"
    if request.param == "postgresql":
        server, name = request.getfixturevalue("postgres"), f"l{uuid.uuid4().hex}"
        admin = Database(f"{server}/postgres")
        with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.close()
        url = f"{server}/{name}"
    opened = Database(url)
    migrate(opened)
    yield opened
    opened.close()
