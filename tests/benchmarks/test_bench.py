"""The benchmark itself: its arithmetic, and a quick run of everything but the peer."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from benchmarks.process import CommandFailed, run
from benchmarks.results import (
    CaseResult,
    LimitMeasurement,
    Machine,
    Measurement,
    PeerSettings,
    Results,
    Round,
    Spread,
    Step,
    SweepEntry,
)
from benchmarks.shapes import SHAPES

from benchmarks import cases, figure, full_width, limit, peer, report, results, rows
from benchmarks import run as bench


def measurement(seconds: float, gib: float = 1.0) -> Measurement:
    """Three steps of 100 tokens; the first is twice as slow, and the process starts for one second."""
    steps = (Step(100, 2 * seconds, 3.0), Step(100, seconds, 2.0), Step(100, seconds, 1.0))
    startup = {"start and imports": 1.0, "step 1": 2 * seconds}
    return Measurement(steps, startup, 10.0, int(gib * 2**30), int(gib * 2**30), 0.0, {"loss": 3.0})


def case_result(rounds: tuple[Round, ...]) -> CaseResult:
    settings = PeerSettings("bfloat16", True, "padded", 4)
    return CaseResult(
        "LoRA SFT, a toy", "a toy Llama", 348_160, "bfloat16", "GSM8K", 16, 2, "", (), rounds, results.ratios(rounds), settings
    )


def found(*rounds: Round) -> Results:
    machine = Machine("Some CPU (R) 9000", 2, 16.0, ("AVX2",), "linux")
    return Results("2026-01-02", machine, {}, "abc", {"toy": case_result(rounds)})


TWO_ROUNDS = (
    Round(measurement(1.0, 1.0), LimitMeasurement(200, {"layers": 0.5, "head": 0.5}, 4.0), measurement(4.0, 3.0)),
    Round(measurement(2.0, 1.0), LimitMeasurement(200, {"layers": 2.0}, 4.0), measurement(12.0, 4.0)),
)


def test_steady_state_leaves_the_first_step_out():
    side = measurement(2.0)
    assert (side.tokens_per_second, side.first_step_s, side.whole_run_tokens_per_second) == (200 / 4, 1 + 4, 300 / 10)


def test_ratios_are_taken_within_rounds():
    """Speed: 4 and 6 times; memory: 1/3 and 1/4; share of the limit: 100 of 200 and 50 of 100 tokens/s."""
    spreads = results.ratios(TWO_ROUNDS)
    assert spreads["tokens_per_second"] == Spread(5.0, 4.0, 6.0)
    assert spreads["peak_bytes"].high == pytest.approx(1 / 3, rel=1e-6)
    assert spreads["share_of_limit"] == Spread(0.5, 0.5, 0.5)


def test_results_are_read_as_they_were_written(tmp_path: Path):
    results.write(found(*TWO_ROUNDS), tmp_path / "r.json")
    assert results.read(tmp_path / "r.json") == found(*TWO_ROUNDS)
    assert found(*TWO_ROUNDS).machine.slug == "some-cpu-r-9000-2-cores"


def test_the_report_gives_medians_and_spread():
    text = report.markdown(found(*TWO_ROUNDS))
    assert "| 75 tokens/s | 17 tokens/s | **5.0× (4.0–6.0)** | 50% (50%–50%) |" in text
    assert "bf16 weights, bf16 autocast, padded, 4 at once" in text
    assert "Some CPU (R) 9000, 2 cores, 16 GiB" in text
    assert "start and imports 1.0 s, step 1 3.0 s" in text


def test_the_figure_is_drawn_with_and_without_a_peer(tmp_path: Path):
    figure.draw(found(*TWO_ROUNDS), tmp_path / "both.json")
    figure.draw(found(Round(measurement(1.0), TWO_ROUNDS[0].limit)), tmp_path / "alone.json")
    assert {path.name for path in tmp_path.iterdir()} == {"both.svg", "both.png", "alone.svg", "alone.png"}


def test_the_best_settings_are_the_fastest_that_ran():
    slow, fast, broken = (PeerSettings("bfloat16", False, "padded", n) for n in (1, 4, 8))
    entries = [SweepEntry(slow, 10.0, 1), SweepEntry(fast, 20.0, 1), SweepEntry(broken, None, None, "it took too much")]
    assert cases.best(entries) == fast
    with pytest.raises(SystemExit, match="it took too much"):
        cases.best(entries[2:])


def test_sides_that_did_other_work_are_not_compared():
    padded, packed = PeerSettings("bfloat16", False, "padded", 4), PeerSettings("bfloat16", False, "packed", 4)
    mine, theirs = measurement(1.0), measurement(2.0)
    fewer = msgspec.structs.replace(theirs, steps=(Step(99, 4.0, 3.0), *theirs.steps[1:]))
    higher = msgspec.structs.replace(theirs, facts={"loss": 3.1})
    bench.refuse_different(mine, theirs, padded)
    bench.refuse_different(mine, fewer, packed)
    for other in (fewer, higher):
        with pytest.raises(SystemExit, match="did not do the same work"):
            bench.refuse_different(mine, other, padded)


@pytest.mark.parametrize("case", cases.CASES.values(), ids=lambda case: case.name)
def test_every_setting_of_the_peer_divides_the_rows_of_a_step(case: cases.Case):
    tried = [settings for kind in cases.kinds(case) for settings in [kind, *cases.layouts(case, kind), *cases.more(case, kind)]]
    assert [s for s in tried for work in (case.work, case.sweep_work) if work.rows_per_step % s.rows_at_once] == []


def test_torch_is_pinned_first_and_everything_is_pinned():
    lines = [line for line in peer.REQUIREMENTS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "torch==2.13.0"
    assert [line for line in lines if "==" not in line] == []


def test_shapes_have_the_parameters_they_are_named_after():
    assert SHAPES["m125"].num_parameters == 30 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 576 * 1536) + 32000 * 576
    assert round(SHAPES["m600"].num_parameters / 1e6) == 596


def test_generated_rows_are_as_long_as_gsm8k():
    """With words for tokens; a row ends with a whole sentence, so it is half a sentence longer than was drawn."""
    made = rows.generated(400, lambda text: len(text.split()), seed=1)
    question, answer = ([len(row["messages"][i]["content"].split()) for row in made] for i in (0, 1))
    assert statistics.median(question) == pytest.approx(61 + 6, abs=6)
    assert statistics.median(answer) == pytest.approx(116 + 6, abs=9)


def test_the_limit_counts_the_products_of_lora():
    """One layer, T = 5 tokens of which N = 3 are scored, rank r = 16: forward 2T(io + ir + ro) of each matrix, backward the same and
    2T(ir + ro) for dA and dB, but nothing into the first layer's q, k, v; and 4N·d·V for the head."""
    torch = pytest.importorskip("torch")
    import dataclasses

    shape = dataclasses.replace(SHAPES["tiny"], layers=1)
    steps = [limit.StepShape(5, (limit.StreamShape(5, 3),))] * 2
    measured = limit.measure(shape, torch.float32, steps)
    T, N, r = 5, 3, 16
    expected = 4 * N * shape.hidden * shape.vocabulary
    for name, (out, into) in shape.linears.items():
        low = into * r + r * out
        expected += 2 * T * (into * out + low) + 2 * T * low + 2 * T * r * out
        expected += 2 * T * (into * out + r * into) if name not in ("q_proj", "k_proj", "v_proj") else 0
    assert measured.gflop == pytest.approx(expected / 1e9)
    assert measured.tokens == 5


def test_a_process_is_watched(tmp_path: Path):
    """Two lines 0.3 s apart, and 64 MiB held meanwhile."""
    out = tmp_path / "lines"
    writing = f"open({str(out)!r}, 'w', buffering=1)"
    code = f"import time; held = b'1' * 2**26; f = {writing}; f.write('1\\n'); time.sleep(.3); f.write('2\\n'); f.close()"
    began = time.time()
    watched = run([sys.executable, "-c", code], 1, tmp_path / "log", watch=out)
    assert began <= watched.started <= watched.lines[0] < watched.lines[1] <= watched.ended
    assert 2**26 <= watched.peak_within([(watched.lines[0], watched.lines[1])]) <= watched.peak_bytes
    with pytest.raises(CommandFailed, match="no such thing"):
        run([sys.executable, "-c", "raise SystemExit('no such thing')"], 1, tmp_path / "log")


def test_quick_measures_reports_and_draws(root: Path, tmp_path: Path):
    """The product and the limit on a toy, for real, in processes of their own."""
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--cases", "tiny"]
    command += ["--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("*.json")
    (only,) = results.read(path).cases.values()
    (measured,) = only.rounds
    assert [step.tokens > 0 and step.seconds > 0 for step in measured.ours.steps] == [True] * cases.TOYS["tiny"].work.num_steps
    assert list(measured.ours.startup) == ["start and imports", "rows, model, probe", "certificate", "first checkpoint", "step 1"]
    assert min(measured.ours.startup.values()) >= 0
    assert measured.limit.tokens == sum(step.tokens for step in measured.ours.steps[1:])
    assert 0 < measured.ours.peak_in_steps_bytes <= measured.ours.peak_bytes
    assert json.loads(path.read_text(encoding="utf-8"))["machine"]["cores"] >= 1
    assert path.with_suffix(".svg").is_file()
    assert path.with_suffix(".png").is_file()
    assert "LoRA SFT, a toy, fp32" in done.stdout


@pytest.mark.slow
def test_a_toy_goes_through_training_peft_merging_and_chatting(tmp_path: Path):
    """As the full-width shapes do, in five processes."""
    found = full_width.through("tiny", num_steps=2, threads=1, scratch=tmp_path)
    assert list(found) == ["make", "train", "peft", "merge", "chat"]
    assert found["peft"]["difference"] < full_width.SAME < found["peft"]["effect"]
    assert found["merge"]["difference"] <= found["merge"]["tolerance"]
    assert 0 < found["chat"]["tokens"] <= 8
    assert "a toy Llama, " in full_width.show("tiny", found)
