"""Attacks on the sandbox: each is really tried, in every kind of sandbox that this machine can make."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import GradingError
from luthier.graders import enclosure as enclosures
from luthier.graders import sandbox as sandboxes
from luthier.graders.enclosure import KINDS, Enclosure, Kind
from luthier.graders.inside import filter_for
from luthier.graders.sandbox import Limits, Outcome, Sandbox

WORKING = {kind: found for kind in KINDS if isinstance(found := sandboxes.tried(kind), Enclosure)}
LIMITS = Limits(time_limit_s=0.6, memory_mb=256, disk_mb=1)

EVALUATE = """
import os, sys, time

def grade(sample, item):
    return eval(item["code"])
"""

pytestmark = pytest.mark.skipif(not WORKING, reason=f"no sandbox can be made here: {[sandboxes.tried(kind) for kind in KINDS]}")


@pytest.fixture(scope="module", params=WORKING)
def enclosure(request: pytest.FixtureRequest) -> Enclosure:
    return WORKING[request.param]


@pytest.mark.parametrize("kind", KINDS)
def test_this_kind_is_attacked_here(kind: Kind):
    """Says which kind of sandbox could not be made on this machine, and was therefore not attacked."""
    if kind not in WORKING:
        pytest.skip(str(sandboxes.tried(kind)))
    assert WORKING[kind].kind == kind


@pytest.fixture(scope="module")
def sandbox(enclosure: Enclosure) -> Iterator[Sandbox]:
    with Sandbox(EVALUATE, LIMITS, enclosure) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def patient(enclosure: Enclosure) -> Iterator[Sandbox]:
    """For what takes its time on a busy machine."""
    with Sandbox(EVALUATE, LIMITS.model_copy(update={"time_limit_s": 30.0}), enclosure) as sandbox:
        yield sandbox


def tried(sandbox: Sandbox, code: str) -> Outcome:
    (outcome,) = sandbox.run([({}, {"code": code})])
    return outcome


def test_what_it_is_for(sandbox: Sandbox):
    assert [tried(sandbox, code).value for code in ("0.5", "True", "len(item['code'])", "-3")] == [0.5, 1, 17, -3]


def test_many_answers_take_one_process_and_little_time(sandbox: Sandbox):
    tried(sandbox, "1")
    running, began = sandbox._running, time.monotonic()
    assert [outcome.value for outcome in sandbox.run([({}, {"code": str(n)}) for n in range(100)])] == list(range(100))
    assert sandbox._running is running
    assert time.monotonic() - began < 30  # 3 ms each; a fresh sandbox each would take a minute or more on a slow machine


def test_it_sees_sample_and_item(enclosure: Enclosure):
    source = "def grade(sample, item): return sample['output_json']['n'] == item['ü']"
    with Sandbox(source, LIMITS, enclosure) as sandbox:
        outcomes = sandbox.run([({"output_json": {"n": 7}}, {"ü": 7}), ({}, {"ü": 7}), ({"output_json": {"n": 7}}, {"ü": 8})])
    assert [outcome.value for outcome in outcomes] == [1, 0, 0]
    assert "KeyError: 'output_json', in line 1 of the source" in outcomes[1].fault


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()",
        f"open({str(Path.home() / '.profile')!r}).read()",
        "open('/proc/self/environ').read()",
        f"open({__file__!r}).read()",
        f"os.listdir({str(Path(__file__).parent)!r})",
        f"open({str(Path(enclosures.__file__))!r}).read()",
    ],
)
def test_files_outside_are_not_there(sandbox: Sandbox, code: str):
    outcome = tried(sandbox, code)
    assert outcome.kind == "raised" and "No such file or directory" in outcome.fault


def test_the_home_folder_shows_nothing_but_the_way_to_the_interpreter(sandbox: Sandbox):
    """Where the interpreter lies below it; else it is not there at all."""
    shown = {Path(path) for path in sandbox.enclosure.show}
    home = Path.home()
    expected = {path.relative_to(home).parts[0] for path in shown if path.is_relative_to(home)}
    code = f"(lambda h: len(os.listdir(h)) if os.path.isdir(h) else 0)({str(home)!r})"
    assert tried(sandbox, code).value == len(expected)


@pytest.mark.parametrize("name", ["HOME", "PATH", "LC_ALL"])
def test_no_environment_variable_of_the_user_gets_in(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert tried(sandbox, f"{name!r} in os.environ").value == 1
    with Sandbox(EVALUATE, LIMITS, sandbox.enclosure) as fresh:
        assert tried(fresh, "'OPENAI_API_KEY' in os.environ").value == 0


@pytest.mark.parametrize(
    "code",
    [
        "__import__('socket').socket()",
        "__import__('socket').create_connection(('127.0.0.1', 80))",
        "__import__('urllib.request').request.urlopen('http://127.0.0.1/')",
        "os.fork()",
        "os.execv('/usr/bin/env', ['env'])",
        "__import__('subprocess').run(['/bin/true'])",
        "os.kill(os.getppid(), 9)",
        "os.kill(1, 9)",
        "__import__('resource').prlimit(os.getppid(), 7, (1, 1))",
        "open('/elsewhere', 'w')",
        "open(os.__file__, 'a')",
        "os.chroot('/tmp')",
        "os.setuid(12345)",
    ],
)
def test_what_is_not_permitted(sandbox: Sandbox, code: str):
    outcome = tried(sandbox, code)
    assert outcome.kind == "raised", outcome
    assert any(word in outcome.fault for word in ("not permitted", "Read-only", "No such", "Invalid argument")), outcome.fault


def test_ptrace_says_no(sandbox: Sandbox):
    """PTRACE_ATTACH to the process above it: -1."""
    assert tried(sandbox, "__import__('ctypes').CDLL(None).ptrace(16, os.getppid(), 0, 0)").value == -1


def test_a_fork_bomb_does_not_go_off(sandbox: Sandbox):
    assert tried(sandbox, "[os.fork() for _ in iter(int, 1)]").kind == "raised"
    assert tried(sandbox, "os.system('true') == 0").value == 0


def test_a_bomb_of_threads_is_bounded_by_memory(enclosure: Enclosure):
    source = """
import threading, time
def grade(sample, item):
    n = 0
    try:
        while n < 1000:
            threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
            n += 1
    except RuntimeError:
        pass
    return n
"""
    with Sandbox(source, LIMITS, enclosure) as sandbox:
        (outcome,) = sandbox.run([({}, {})])
    assert outcome.value < 100


@pytest.mark.parametrize("code", ["bytearray(10**9)", "[bytearray(10**7) for _ in range(100)]", "'x' * 10**9", "list(range(10**8))"])
def test_a_memory_bomb_is_that_answers_fault(patient: Sandbox, code: str):
    assert tried(patient, code) == Outcome(0, "it used more memory than it may", "memory")
    assert tried(patient, "1").value == 1


@pytest.mark.parametrize(
    "code",
    [
        "sum(1 for _ in iter(int, 1))",
        "time.sleep(60)",
        "__import__('re').match('(a+)+$', 'a' * 40 + 'b')",
        "pow(7, 10**9) % 3",
        "os.close(3) or time.sleep(60)",
    ],
)
def test_an_endless_loop_is_stopped_and_the_next_answer_graded(sandbox: Sandbox, code: str):
    outcomes = sandbox.run([({}, {"code": code}), ({}, {"code": "0.25"})])
    assert outcomes[0].kind in (("time", "lost") if "close(3)" in code else ("time",))
    assert "took longer than 0.6 s" in outcomes[0].fault or outcomes[0].kind == "lost"
    assert outcomes[1] == Outcome(0.25)


def test_signals_and_excepts_do_not_keep_it_alive(enclosure: Enclosure):
    source = """
import signal
def grade(sample, item):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            while True: pass
        except BaseException: pass
"""
    with Sandbox(source, LIMITS, enclosure) as sandbox:
        (outcome,) = sandbox.run([({}, {})])
    assert outcome.kind == "time"


def test_the_private_folder_is_small_and_empty_again_for_the_next(sandbox: Sandbox):
    assert tried(sandbox, "open('/private/kept', 'w').write('x' * 1000)").value == 1000
    assert tried(sandbox, "len(os.listdir('/private'))").value == 0
    assert "large" in tried(sandbox, "open('/private/big', 'w').write('x' * 10**7)").fault
    assert "No space left" in tried(sandbox, "[open(f'/private/{n}', 'w').write('x' * 10**6) for n in range(9)] and 1").fault
    assert tried(sandbox, "len(os.listdir('/private'))").value == 0


@pytest.mark.parametrize(
    "code", ["os.mkdir('/private/locked') or os.chmod('/private/locked', 0) or 1", "os.makedirs('/private/' + 'a/' * 1500) or 1"]
)
def test_what_cannot_be_emptied_costs_a_new_sandbox(sandbox: Sandbox, code: str):
    tried(sandbox, code)
    assert tried(sandbox, "len(os.listdir('/private'))").value == 0


@pytest.mark.parametrize(
    "code, said",
    [
        ("float('nan')", "it returned nan, which is no finite number"),
        ("float('inf')", "no finite number"),
        ("None", "it returned None, which is no number"),
        ("'0.5'", "it returned str '0.5', which is no number"),
        ("[1]", "it returned list [1], which is no number"),
        ("1j", "it returned complex 1j, which is no number"),
        ("1 / 0", "it raised ZeroDivisionError: division by zero, in line 5 of the source"),
        ("sys.exit(3)", "it raised SystemExit: 3"),
        ("os._exit(3)", "its process left with exit code 3 before it returned"),
        ("os.abort()", "its process was ended by signal"),
        ("(_ for _ in ()).throw(KeyboardInterrupt)", "it raised KeyboardInterrupt"),
        ("__import__('nowhere')", "No module named 'nowhere'"),
    ],
)
def test_every_failure_is_a_sentence(sandbox: Sandbox, code: str, said: str):
    outcome = tried(sandbox, code)
    assert outcome.value == 0 and said in outcome.fault
    assert tried(sandbox, "1").value == 1


@pytest.mark.parametrize(
    "code",
    [
        "print('x' * 10**7) or 1",
        "sys.stderr.write('x' * 10**7) and 1",
        "os.write(1, b'{\"value\": 9}\\n') and 1",
        "sys.stdout.flush() or 1",
        "[os.close(n) for n in (0, 1, 2)] and 1",
    ],
)
def test_what_is_printed_is_no_reply(sandbox: Sandbox, code: str):
    assert tried(sandbox, code).value == 1


def test_a_reply_that_an_answer_forges_is_only_its_own(sandbox: Sandbox):
    """Whoever runs an answer's code within `grade` lets it write the number; other answers it cannot touch."""
    forged = "os.write(3, b'{\"value\": 9}') and os._exit(0)"
    assert [o.value for o in sandbox.run([({}, {"code": forged}), ({}, {"code": "1"})])] == [9, 1]
    for broken in ("b'[1]'", "b'{\"value\": NaN}'", 'b\'{"value": "9"}\'', "b'\\xff\\n{}'", "b'{' * 10**6"):
        outcome = tried(sandbox, f"os.write(3, {broken}) and os._exit(0)")
        assert outcome.value == 0 and outcome.fault
    assert tried(sandbox, "1").value == 1


def test_a_long_sentence_is_cut(sandbox: Sandbox):
    assert len(tried(sandbox, "(_ for _ in ()).throw(ValueError('x' * 10**6))").fault) < 2000


def test_no_answer_changes_the_grading_of_the_next(enclosure: Enclosure):
    """Whatever a call leaves behind in its module or in packages ends with it."""
    source = """
import json
seen = []
def grade(sample, item):
    seen.append(1)
    json.loads = None
    return len(seen)
"""
    with Sandbox(source, LIMITS, enclosure) as sandbox:
        assert [outcome.value for outcome in sandbox.run([({}, {})] * 3)] == [1, 1, 1]


def test_installed_packages_can_be_imported(enclosure: Enclosure):
    source = "import numpy as np\nfrom rapidfuzz import fuzz\ndef grade(sample, item): return np.float32(fuzz.ratio('a', 'a') / 200)"
    with Sandbox(source, Limits(time_limit_s=20), enclosure) as sandbox:
        assert sandbox.run([({}, {})])[0] == Outcome(0.5)


def test_a_source_may_declare_classes(enclosure: Enclosure):
    source = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Found:
    number: int | None

def grade(sample, item) -> float:
    return Found(7).number
"""
    with Sandbox(source, LIMITS, enclosure) as sandbox:
        assert sandbox.run([({}, {})])[0] == Outcome(7.0)


def test_module_level_code_runs_in_the_call_alone(enclosure: Enclosure):
    """A loop at the top of the source, and none in the process that stays."""
    with Sandbox("while True: pass\ndef grade(sample, item): return 1", LIMITS, enclosure) as sandbox:
        assert sandbox.run([({}, {})])[0].kind == "time"


def test_close_leaves_no_process(enclosure: Enclosure):
    sandbox = Sandbox(EVALUATE, LIMITS, enclosure)
    tried(sandbox, "1")
    assert sandbox._running is not None
    process = sandbox._running.process
    sandbox.close()
    assert process.poll() is not None
    assert tried(sandbox, "1").value == 1  # it starts anew
    process = sandbox._running.process
    del sandbox
    assert process.poll() is not None


def test_it_ends_with_the_program_that_started_it(enclosure: Enclosure):
    """The parent is killed without warning while a call runs."""
    program = (
        "import sys, threading, os, time\n"
        "from luthier.graders.sandbox import Sandbox, Limits, tried\n"
        "source = 'import time\\ndef grade(s, i): time.sleep(i.get(\"s\", 0)); return 1'\n"
        f"sandbox = Sandbox(source, Limits(time_limit_s=30), tried({enclosure.kind!r}))\n"
        "sandbox.run([({}, {})])\n"
        "print(sandbox._running.process.pid, flush=True)\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), os.kill(os.getpid(), 9))).start()\n"
        "sandbox.run([({}, {'s': 1.0})])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -9, done.stderr
    pid, deadline = int(done.stdout), time.monotonic() + 20
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_hung_sandbox_is_noticed(enclosure: Enclosure, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandboxes, "GRACE_S", 0.3)
    with Sandbox(EVALUATE, LIMITS, enclosure) as sandbox:
        tried(sandbox, "1")
        assert sandbox._running is not None
        subprocess.run(["pkill", "-STOP", "-g", str(sandbox._running.process.pid)], check=True)
        (outcome,) = sandbox.run([({}, {"code": "1"})])
        assert outcome == Outcome(1.0) or outcome.kind == "sandbox"
        assert tried(sandbox, "1").value == 1


def test_the_filter_is_known_for_two_machines():
    assert len(filter_for("x86_64")) % 8 == 0 and len(filter_for("aarch64")) % 8 == 0
    with pytest.raises(KeyError):
        filter_for("riscv64")


class TestWithoutASandbox:
    def test_it_is_refused_with_what_to_install(self, monkeypatch: pytest.MonkeyPatch):
        sandboxes.tried.cache_clear()
        monkeypatch.setenv("PATH", "/nowhere")
        try:
            with pytest.raises(
                GradingError, match=r"runs only in a sandbox, and none can be made here: bubblewrap is not installed.*apt install"
            ):
                Sandbox(EVALUATE)
        finally:
            sandboxes.tried.cache_clear()

    def test_other_systems_are_named(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("luthier.graders.enclosure.platform.system", lambda: "Darwin")
        assert "and this is Darwin" in str(enclosures.enclosure("bubblewrap"))

    def test_one_that_does_not_start_says_why(self, tmp_path: Path):
        refusing = tmp_path / "unshare"
        refusing.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
        refusing.chmod(0o755)
        broken: Any = next(iter(WORKING.values()))
        with pytest.raises(GradingError, match=r"did not start \(unshare failed: Operation not permitted"):
            tried(Sandbox(EVALUATE, LIMITS, Enclosure("unshare", str(refusing), broken.show, broken.links)), "1")
