"""The table of rooms and floors is the architecture: this test holds it, and the README prints it.

A room imports from lower floors of its own wing and from the ground, never from its own floor or above. Imports inside functions count,
and so do imports for types only.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "luthier"

GROUND = [{"errors"}, {"spec"}, {"data", "text", "graders"}]
"""Floors from the lowest up. What both wings stand on: no torch, no transformers."""
TRAINING = [{"losses", "batches", "adapters"}, {"models"}, {"methods", "rewards"}, {"evaluate"}, {"engine", "serve"}, {"recipes"}]
PLATFORM = [{"store", "client"}, {"accounts", "arrivals", "jobs", "feedback"}, {"api"}, {"web"}]
"""No torch, no transformers."""
TOP = [{"cli"}]
"""The only room that may enter both wings."""

METHODS_IMPORT = {"losses", "batches", "spec", "errors"}
"""A method reads like its paper: it knows nothing of models, devices, streams or files."""

DEVICE_FILES = {"models/device.py", "engine/sharding.py"}
"""The only files that name a kind of accelerator or torch.distributed."""

OUTSIDE = {"__init__.py", "testing.py"}
"""On no floor: the package's front door, which imports lazily, and the public test kit."""

HEAVY = {"torch", "transformers", "peft", "safetensors", "matplotlib", "codecarbon", "accelerate", "tensorboard", "wandb", "mlflow"}
NAMES_OF_NOTHING = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "managers", "tools", "stuff", "core", "lib"}
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 80

IMPORT_NAMES = {
    "pyyaml": "yaml",
    "mlflow-skinny": "mlflow",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
    "opentelemetry-sdk": "opentelemetry",
    "scikit-learn": "sklearn",
    "python-multipart": "python_multipart",
    "prometheus-client": "prometheus_client",
}
"""Distributions whose import name is another."""
BROUGHT_ALONG = {"anyio", "pydantic_core", "referencing", "starlette"}
"""Packages that are a part of a declared one."""


PLATFORM_EXTRAS = ("otel", "postgres", "s3")
"""What the platform imports where somebody asks for it."""


@dataclass(frozen=True)
class File:
    """A source file, parsed."""

    path: str
    """Relative to the package: `models/device.py`."""
    text: str

    @property
    def room(self) -> str:
        return Path(self.path).parts[0].removesuffix(".py")

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of everything imported anywhere in the file; `from a import b` gives `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__", "find_spec") and node.args:
                name = _beginning(node.args[0])
                if name:
                    yield node.lineno, name

    def rooms_imported(self) -> Iterator[tuple[int, str]]:
        """(line, room) of every import from luthier, its own room left out."""
        for line, name in self.imports():
            parts = name.split(".")
            if parts[0] == "luthier" and len(parts) > 1 and parts[1] != self.room:
                yield line, parts[1]

    def packages_imported(self) -> Iterator[tuple[int, str]]:
        """(line, package) of every import from elsewhere than luthier and the standard library."""
        for line, name in self.imports():
            package = name.split(".")[0]
            if package not in sys.stdlib_module_names and package not in ("luthier", "__future__"):
                yield line, package


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""


def _beginning(node: ast.expr) -> str:
    """The text that a string or f-string begins with; empty where that is only known at run time."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value.rstrip(".") if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def floors(*storeys: list[set[str]]) -> dict[str, int]:
    return {room: floor for floor, rooms in enumerate(floor for storey in storeys for floor in storey) for room in rooms}


def allowed(room: str) -> set[str]:
    """The rooms that `room` may import."""
    if room == "methods":
        return METHODS_IMPORT
    for wing in (TRAINING, PLATFORM):
        heights = floors(GROUND, wing)
        if room in heights:
            return {other for other, floor in heights.items() if floor < heights[room]}
    assert room in floors(TOP), f"{room} has no place in the house"
    return set(floors(GROUND, TRAINING, PLATFORM))


def house() -> str:
    """The table as Markdown, highest floor first. `python tests/test_architecture.py` prints it for the README."""
    rows = [("above both", "`cli`", "`cli`")]
    for number in range(len(TRAINING), 0, -1):
        platform = PLATFORM[number - 2] if 0 <= number - 2 < len(PLATFORM) else set()
        rows.append((str(number), _rooms(TRAINING[number - 1]), _rooms(platform)))
    rows += [("ground", _rooms(rooms), _rooms(rooms)) for rooms in reversed(GROUND)]
    head = "| floor | training wing | platform wing (never imports torch or transformers) |\n|---|---|---|"
    return "\n".join([head, *(f"| {floor} | {training} | {platform} |" for floor, training, platform in rows)])


def _rooms(rooms: set[str]) -> str:
    return " ".join(f"`{room}`" for room in sorted(rooms))


def faults_of_floors(files: list[File]) -> list[str]:
    return [
        f"{file.path}:{line}: `{file.room}` imports `{room}`, but may import only {sorted(allowed(file.room))}"
        for file in files
        for line, room in file.rooms_imported()
        if room not in allowed(file.room)
    ]


def faults_of_weight(files: list[File]) -> list[str]:
    """Ground floor and platform wing import none of the heavy packages."""
    light = set(floors(GROUND, PLATFORM))
    return [
        f"{file.path}:{line}: `{file.room}` must work without {package}"
        for file in files
        if file.room in light
        for line, package in file.packages_imported()
        if package in HEAVY
    ]


def faults_of_devices(files: list[File]) -> list[str]:
    """`cuda`, `mps` and `torch.distributed` as names, attributes, imports or device strings."""
    return [
        f"{file.path}:{line}: only {sorted(DEVICE_FILES)} may name {name}"
        for file in files
        if file.path not in DEVICE_FILES
        for line, name in _devices_named(file)
    ]


def _devices_named(file: File) -> Iterator[tuple[int, str]]:
    for line, name in file.imports():
        if name.startswith("torch.") and {"distributed", "cuda", "mps"} & set(name.split(".")):
            yield line, name
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute) and node.attr in ("cuda", "mps"):
            yield node.lineno, f".{node.attr}"
        elif isinstance(node, ast.Attribute) and node.attr == "distributed" and ast.unparse(node.value) == "torch":
            yield node.lineno, "torch.distributed"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"(cuda|mps)(:\d+)?", node.value):
            yield node.lineno, repr(node.value)


def faults_of_methods(files: list[File]) -> list[str]:
    """A method never imports another one; what they share begins with `_` or is the room's contract, `base.py`."""
    modules = {Path(file.path).stem for file in files if file.room == "methods"} - {"__init__", "base"}
    named = {module for module in modules if not module.startswith("_")}
    return [
        f"{file.path}:{line}: methods never import each other, but this imports {name}"
        for file in files
        if file.room == "methods" and Path(file.path).stem in named
        for line, name in file.imports()
        if name.startswith("luthier.methods.") and name.split(".")[2] in named
    ]


@pytest.fixture(scope="module")
def files() -> list[File]:
    paths = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
    return [File(path, (SOURCE / path).read_text(encoding="utf-8")) for path in paths if path not in OUTSIDE]


def test_every_room_has_its_place(files: list[File]):
    assert {file.room for file in files} <= set(floors(GROUND, TRAINING, PLATFORM, TOP))


def test_the_readme_prints_the_table():
    assert house() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_imports_point_down(files: list[File]):
    assert faults_of_floors(files) == []


def test_ground_floor_and_platform_wing_are_light(files: list[File]):
    assert faults_of_weight(files) == []


def test_two_files_name_devices(files: list[File]):
    assert faults_of_devices(files) == []


def test_methods_never_import_each_other(files: list[File]):
    assert faults_of_methods(files) == []


def test_nobody_imports_the_front_door_or_the_test_kit(files: list[File]):
    from_outside = ["luthier", "luthier.testing"]
    assert [f"{file.path}:{line}" for file in files for line, name in file.imports() if name in from_outside] == []


def test_imported_packages_are_declared(files: list[File]):
    """Base dependencies for the ground, the platform and the command line's own start; `train` and `report` for the rest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base, extras = project["dependencies"], [line for extra in project["optional-dependencies"].values() for line in extra]
    of_platform = [line for extra in PLATFORM_EXTRAS for line in project["optional-dependencies"][extra]]
    light = {_import_name(line) for line in [*base, *of_platform]} | BROUGHT_ALONG
    every = light | {_import_name(line) for line in extras} | {"peft"}  # offered where installed, and named with its command
    ground = set(floors(GROUND, PLATFORM))
    assert [
        f"{file.path}:{line}: {package} is not a declared dependency"
        for file in files
        for line, package in file.packages_imported()
        if package not in (light if file.room in ground else every)
    ] == []


def _import_name(requirement: str) -> str:
    name = re.split(r"[<>=!~;\[ ]", requirement)[0].lower()
    return IMPORT_NAMES.get(name, name.replace("-", "_"))


def test_a_file_is_a_noun_of_the_domain(files: list[File]):
    assert [file.path for file in files if NAMES_OF_NOTHING & {part.removesuffix(".py").strip("_") for part in Path(file.path).parts}] == []


def test_every_file_says_what_it_is(files: list[File]):
    assert [file.path for file in files if not ast.get_docstring(file.tree)] == []


def test_files_and_functions_are_short(files: list[File]):
    long_files = [f"{file.path}: {n} lines" for file in files if (n := file.text.count("\n")) > MAX_FILE_LINES]
    long_functions = [
        f"{file.path}:{node.lineno} {node.name}: {length} lines"
        for file in files
        for node in ast.walk(file.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert long_files + long_functions == []


def test_the_front_door_is_light():
    """`import luthier` costs nothing, nor does looking at what it offers: torch is loaded by the first call that needs it."""
    look = "import sys, luthier; luthier.train, luthier.resume, luthier.__version__, dir(luthier)"
    program = f"{look}; print(*sorted({HEAVY | {'pydantic', 'rich', 'numpy'}!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split() == []


@pytest.mark.parametrize(
    "find, path, line",
    [
        (faults_of_floors, "models/attention.py", "from luthier.engine.loop import run"),
        (faults_of_floors, "losses/kl.py", "def f():\n    import luthier.batches.lot"),
        (faults_of_floors, "engine/loop.py", "import luthier.api.files"),
        (faults_of_floors, "api/files.py", "from luthier import models"),
        (faults_of_floors, "methods/dpo.py", "from luthier.models.forward import Root"),
        (faults_of_floors, "spec/load.py", "import importlib\nimportlib.import_module(f'luthier.methods.{name}')"),
        (faults_of_weight, "text/render.py", "def f():\n    from transformers import AutoTokenizer"),
        (faults_of_weight, "store/rows.py", "import torch"),
        (faults_of_devices, "engine/loop.py", "torch.cuda.synchronize()"),
        (faults_of_devices, "engine/loop.py", "tensor.to('cuda:0')"),
        (faults_of_devices, "models/load.py", "import torch.distributed as dist"),
        (faults_of_devices, "models/load.py", "torch.backends.mps.is_available()"),
    ],
)
def test_a_breach_is_found(find, path: str, line: str):
    assert len(find([File(path, line)])) == 1


def test_a_method_that_borrows_from_another_is_found():
    files = [
        File("methods/dpo.py", "from luthier.methods.sft import SFT\nfrom luthier.methods.base import Method"),
        File("methods/sft.py", ""),
    ]
    assert len(faults_of_methods(files)) == 1


@pytest.mark.parametrize(
    "path, line",
    [
        ("models/load.py", "from luthier.adapters.lora import Lora"),
        ("methods/dpo.py", "from luthier.losses.logprobs import logprobs"),
        ("recipes/demo.py", "from luthier.engine.loop import run"),
        ("cli/serve.py", "import luthier.api.app, luthier.recipes.chat"),
        ("api/files.py", "from luthier.store.rows import rows"),
    ],
)
def test_what_points_down_passes(path: str, line: str):
    assert faults_of_floors([File(path, line)]) == []


if __name__ == "__main__":
    print(house())


def test_ground_floor_and_commands_import_without_the_training_extra():
    """As in an environment where only `pip install luthier` was done; tests/test_package.py makes a real one."""
    program = (
        "import importlib, pathlib, sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'transformers', 'safetensors', 'huggingface_hub', 'sklearn', 'scipy', 'matplotlib']))\n"
        "import luthier\n"
        "root = pathlib.Path(luthier.__file__).parent\n"
        "files = [f for room in ('spec', 'data', 'text', 'graders', 'cli') for f in (root / room).rglob('*.py')]\n"
        "for file in files: importlib.import_module('luthier.' + '.'.join(file.relative_to(root).with_suffix('').parts))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
