"""The benchmarks of what is learned from people and rewards: their rows, their arithmetic, and a quick run of each on a toy."""

import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from benchmarks.results import CaseResult, Machine, Measurement, PeerSettings, Results, Round, SidesResult, Spread, Step, spread_over

from benchmarks import cases, figure, inside, ours, report, results, rows
from benchmarks import run as bench

PADDED = PeerSettings("bfloat16", False, "padded", 4, {"precompute_ref_log_probs": True})


def words(text: str) -> int:
    return len(text.split())


def measurement(seconds: float, kept_s: float = 0.0) -> Measurement:
    """Three steps of 100 tokens, 8 pairs each."""
    facts = {"loss": 0.693, "logps/chosen": -1000.0}
    return Measurement((Step(100, seconds, 0.693),) * 3, {"step 1": seconds}, 10.0, 2**30, 2**30, 0.0, facts, kept_s)


def case_result(unit: str, *rounds: Round) -> CaseResult:
    return CaseResult("LoRA DPO, a toy", "a toy", 1, "float32", "GSM8K", 8, 2, "", (), rounds, results.ratios(rounds), PADDED, (), unit)


def found(**parts: object) -> Results:
    machine = Machine("Some CPU", 2, 16.0, ("AVX2",), "linux")
    return msgspec.structs.replace(Results("2026-01-02", machine, {}, "abc", {}), **parts)


def test_a_pair_has_its_own_answer_and_the_next_rows():
    made = rows.pairs(rows.generated(3, words))
    assert [row["prompt"][0]["role"] for row in made] == ["user"] * 3
    assert [row["rejected"] for row in made] == [made[(i + 1) % 3]["chosen"] for i in range(3)]
    assert rows.prompts(rows.generated(3, words)) == [{"prompt": row["prompt"]} for row in made]


def test_rows_that_begin_alike_are_as_long_as_others():
    """3 questions with 4 answers; apart, the answers to one question stand behind 4 different first words."""
    alike, apart = (rows.several(3, 4, 20, words, alike) for alike in (True, False))
    texts = [[[turn["content"] for turn in row["messages"]] for row in made] for made in (alike, apart)]
    assert [[words(text) for text in row] for row in texts[0]] == [[words(text) for text in row] for row in texts[1]]
    assert [row[0].split(" ", 1)[1] for row in texts[0]] == [row[0].split(" ", 1)[1] for row in texts[1]]
    assert len({row[0] for row in texts[0]}) == 3
    assert len({row[0] for row in texts[1]}) == 12


def test_what_all_steps_share_is_spread_by_tokens():
    """9 s over 100 and 200 tokens."""
    assert [step.seconds for step in spread_over((Step(100, 1.0, 0.0), Step(200, 1.0, 0.0)), 9.0)] == [4.0, 7.0]


def test_a_second_epoch_does_without_the_reference():
    """Each step takes 2 s, a quarter of it for the reference: 200 tokens in 4 s, then in 3 s."""
    side = measurement(2.0, kept_s=1.5)
    assert (side.tokens_per_second, side.second_epoch_tokens_per_second) == (50, pytest.approx(200 / 3))


def test_sides_may_draw_answers_that_are_a_little_longer():
    mine, theirs = measurement(1.0), measurement(2.0)
    longer, far = (msgspec.structs.replace(theirs, steps=(Step(n, 2.0, 0.693),) * 3) for n in (101, 110))
    bench.refuse_different(mine, longer, PADDED, draws=True)
    for other, draws in ((longer, False), (far, True), (msgspec.structs.replace(theirs, facts={"entropy": 1.0}), True)):
        with pytest.raises(SystemExit, match="did not do the same work"):
            bench.refuse_different(mine, other, PADDED, draws)


def test_the_report_tells_pairs_and_steps():
    """8 pairs in 2 s beside 8 in 8 s."""
    one = Round(measurement(2.0, kept_s=1.5), None, measurement(8.0))
    text = report.markdown(found(cases={"dpo": case_result("pairs", one)}))
    assert "| LoRA DPO, a toy | 4.00 pairs/s | 1.00 pairs/s | **4.0×** |  |" in text
    assert "The reference, 25% of Luthier's time, is computed once: in a second epoch 5.3×." in text
    assert "precompute_ref_log_probs=True" in text
    assert "Logps/chosen" in text or "logps/chosen of the first step: -1,000.000 (Luthier -1,000.000)" in text
    assert "| 2.0 s a step | 8.0 s a step |" in report.markdown(found(cases={"grpo": case_result("steps", one)}))


def test_the_report_has_luthier_beside_itself():
    sides = SidesResult(
        "PPO step", ("PPO", "GRPO"), "s", ((3.0, 2.0), (3.2, 2.0)), Spread(1.55, 1.5, 1.6), "at most 1.5×", "a toy", 2, "2026-01-02T10:00"
    )
    text = report.markdown(found(inside={"ppo-grpo": sides}))
    assert "| PPO step | PPO: 3.10 s | GRPO: 2.00 s | **1.55× (1.50–1.60)** | at most 1.5× |" in text


def test_cases_without_a_limit_have_a_figure_of_their_own(tmp_path: Path):
    figure.draw(found(cases={"dpo": case_result("pairs", Round(measurement(2.0), None, measurement(8.0)))}), tmp_path / "r.json")
    assert {path.name for path in tmp_path.iterdir()} == {"r-learning.svg", "r-learning.png"}


def test_other_results_are_not_the_newest(tmp_path: Path):
    for name in ("2026-01-02-a.json", "2026-01-03-a.json", "classification.json"):
        (tmp_path / name).write_text("{}")
    assert results.newest(tmp_path).name == "2026-01-03-a.json"


def test_what_trl_is_tried_with_is_tried_beside_the_fastest():
    dpo = cases.CASES["dpo"]
    fastest = PeerSettings("float32", True, "padded", 2)
    assert [s.rows_at_once for s in cases.layouts(dpo, cases.kinds(dpo)[0])] == [1, 2, 8]
    assert cases.more(dpo, fastest) == [PeerSettings("float32", True, "padded", 2, {"precompute_ref_log_probs": True})]
    assert [s.layout for s in cases.layouts(cases.CASES["grpo"], fastest)] == ["padded"] * 3


def run(root: Path, folder: Path, module: str, *named: str) -> Results:
    command = [sys.executable, "-m", module, "--quick", "--cases", *named, "--out", folder / "out", "--cache", folder / "cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "out").glob("*.json")
    return results.read(path)


@pytest.mark.parametrize(
    "name", ["tiny-grpo", pytest.param("tiny-dpo", marks=pytest.mark.slow), pytest.param("tiny-reward-model", marks=pytest.mark.slow)]
)
def test_quick_measures_pairs_and_answers(name: str, root: Path, tmp_path: Path):
    """The product on a toy, for real, in a process of its own."""
    case = cases.TOYS[name]
    (measured,) = run(root, tmp_path, "benchmarks.run", name).cases[name].rounds
    assert [step.tokens > 0 and step.seconds > 0 for step in measured.ours.steps] == [True] * case.work.num_steps
    assert list(measured.ours.startup) == [
        "start and imports",
        "rows, model, probe",
        "certificate",
        "first checkpoint",
        "first lot",
        "step 1",
    ]
    assert min(measured.ours.startup.values()) >= 0
    assert measured.limit is None
    if case.draws:
        assert measured.ours.facts.keys() == {"entropy"}
    else:
        assert measured.ours.facts["loss"] == pytest.approx(math.log(2), abs=0.1)
    if case.method == "dpo":
        assert max(measured.ours.facts["logps/chosen"], measured.ours.facts["logps/rejected"]) < 0
        assert 0 < measured.ours.kept_s < sum(step.seconds for step in measured.ours.steps)


@pytest.mark.slow
def test_quick_measures_luthier_beside_itself(root: Path, tmp_path: Path):
    """PPO and GRPO learn from the same answers; what is shared is computed once."""
    measured = run(root, tmp_path, "benchmarks.inside", *inside.TOYS).inside
    assert list(measured) == list(inside.TOYS)
    assert min(value for sides in measured.values() for pair in sides.rounds for value in pair) > 0
    assert "Every answer of all lots was the same on both sides." in measured["tiny-ppo-grpo"].notes[0]


def test_settings_of_ours_draw_what_is_asked_for():
    given = ours.settings(cases.CASES["grpo"], cases.CASES["grpo"].work, 2)
    assert {"method.group=8", "method.rollout.prompts=8", "method.rollout.max_new_tokens=64", "train.batch_size=64"} <= set(given)
