"""Whole files in one pass: what a report says about them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.survey.counted import Options
from luthier.data.survey.report import Report
from luthier.data.survey.survey import survey
from luthier.errors import DataError, SettingsError
from luthier.spec.run import DataSource
from luthier.testing import write_jsonl


def talk(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def talks(number: int, start: int = 0) -> list[dict[str, Any]]:
    return [talk(f"What is {i} and {i}?", f"It is {2 * i}.") for i in range(start, start + number)]


def report(*paths: Path, validation: Path | None = None, split: str | None = None, **options: Any) -> Report:
    train = [DataSource(path=str(path), split=split) for path in paths]
    return survey(train, [DataSource(path=str(validation))] if validation else [], Options(**options)).report


def found(report: Report) -> dict[str, tuple[str, int, tuple[str, ...]]]:
    return {
        finding.code: (finding.severity, finding.count, tuple(place.rpartition("/")[2] for place in finding.places))
        for finding in report.findings
    }


def test_a_clean_file_has_nothing_to_say(tmp_path: Path):
    clean = report(write_jsonl(tmp_path / "a.jsonl", talks(500)))
    assert (clean.findings, clean.verdict, clean.summary) == ((), "Ready to train", "500 rows")
    assert (clean.files[0].format, clean.files[0].kind, clean.files[0].rows) == ("chat", "conversations", 500)


def test_every_fault_of_a_file_is_named_by_line(tmp_path: Path):
    lines = [json.dumps(row) for row in talks(600)]
    lines[2] = '{"messages": ['
    lines[4] = json.dumps({"messages": [{"role": "user", "content": "?"}, {"role": "bot", "content": "!"}]})
    lines[6] = json.dumps({"prompt": "?"})
    lines[8] = json.dumps(talk("?", "  "))
    lines[10] = lines[1]
    lines[12] = json.dumps(talk("?", "Ready.<|im_end|>"))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    told = report(tmp_path / "a.jsonl")
    assert found(told) == {
        "malformed-json": ("error", 1, ("a.jsonl:3",)),
        "wrong-role": ("error", 1, ("a.jsonl:5",)),
        "missing-field": ("error", 1, ("a.jsonl:7",)),
        "empty-answer": ("error", 1, ("a.jsonl:9",)),
        "duplicate-rows": ("warning", 1, ("a.jsonl:11",)),
        "special-tokens-in-text": ("warning", 1, ("a.jsonl:13",)),
    }
    assert (told.verdict, told.rows, told.different, told.files[0].faulty) == ("Not ready: 4 errors", 596, 595, 4)
    assert [finding.severity for finding in told.findings] == ["error"] * 4 + ["warning"] * 2


def test_rows_shared_by_training_and_validation(tmp_path: Path):
    train, validation = write_jsonl(tmp_path / "train.jsonl", talks(500)), write_jsonl(tmp_path / "val.jsonl", talks(20, start=490))
    told = report(train, validation=validation)
    assert found(told) == {"shared-rows": ("error", 10, tuple(f"train.jsonl:{line}" for line in range(491, 496)))}
    assert f"{train}:491 is {validation}:1" in told.findings[0].message and told.validation_rows == 20


def test_duplicates_are_found_across_files(tmp_path: Path):
    one, two = write_jsonl(tmp_path / "a.jsonl", talks(300)), write_jsonl(tmp_path / "b.jsonl", talks(300, start=299))
    assert found(report(one, two)) == {"duplicate-rows": ("warning", 1, ("b.jsonl:1",))}


@pytest.mark.parametrize("number, expected", [(9, "error"), (10, "advice"), (499, "advice"), (500, None)])
def test_few_rows(tmp_path: Path, number: int, expected: str | None):
    told = report(write_jsonl(tmp_path / "a.jsonl", talks(number)))
    assert [finding.severity for finding in told.findings] == ([expected] if expected else [])


def test_many_identical_rows_are_few(tmp_path: Path):
    told = report(write_jsonl(tmp_path / "a.jsonl", talks(1) * 5000), near_duplicates=True)
    assert {code: (severity, count) for code, (severity, count, _) in found(told).items()} == {
        "too-few-rows": ("error", 5000),
        "duplicate-rows": ("warning", 4999),
    }
    assert "There is only 1 different row to learn from" in told.findings[0].message


def test_near_duplicates_in_and_between_files(tmp_path: Path):
    said = "The yearly fee of the {} card is 30 euros, and it is waived where you pay with it at least ten times a month."
    rows = [*talks(500), talk(f"Fee {1}?", said.format("blue")), talk(f"Fee {1}?", said.format("red"))]
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    validation = write_jsonl(tmp_path / "val.jsonl", [*talks(30, start=900), talk("Fee 1?", said.format("golden"))])
    assert found(report(train, validation=validation, near_duplicates=True)) == {
        "nearly-shared-rows": ("warning", 1, ("val.jsonl:31",)),
        "near-duplicates": ("advice", 1, ("train.jsonl:502",)),
    }
    assert report(train, validation=validation).findings == ()


def test_a_group_column(tmp_path: Path):
    rows = [{"text": f"case {i}", "label": "yes" if i % 4 else "no", "sex": "f" if i < 400 else "m"} for i in range(500)]
    told = report(write_jsonl(tmp_path / "a.jsonl", rows), group="sex")
    assert [(group.name, group.count, group.rates["yes"]) for group in told.groups] == [("f", 400, 0.75), ("m", 100, 0.75)]
    with pytest.raises(DataError, match="has no column `gender` to group by"):
        report(tmp_path / "a.jsonl", group="gender")


def test_text_has_no_columns_to_group_by(tmp_path: Path):
    (tmp_path / "a.txt").write_text("One story.\n\nAnother story.\n")
    with pytest.raises(DataError, match="no column `sex`"):
        report(tmp_path / "a.txt", group="sex")


def test_labels_in_both_uses(tmp_path: Path):
    rows = [{"text": f"case {i}", "label": ("fee", "rate")[i % 2]} for i in range(600)]
    rows[5]["text"] = rows[4]["text"]
    validation = write_jsonl(tmp_path / "val.jsonl", [{"text": "new", "label": "loan"}, {"text": "newer", "label": "fee"}])
    told = report(write_jsonl(tmp_path / "a.jsonl", rows), validation=validation)
    assert [(label.name, label.train, label.validation) for label in told.labels] == [("fee", 300, 1), ("rate", 300, 0)]
    assert found(told) == {
        "contradicting-labels": ("warning", 2, ("a.jsonl:5", "a.jsonl:6")),
        "labels-without-training": ("warning", 1, ("val.jsonl:1",)),
    }


def test_an_unknown_format_is_refused(tmp_path: Path):
    source = DataSource(path=str(write_jsonl(tmp_path / "a.jsonl", talks(3))), format="chta")
    with pytest.raises(SettingsError, match="chta"):
        survey([source])


def test_a_file_of_several_parts_says_so(tmp_path: Path):
    parts = {name: [[f"{name} question {i}", ("fee", "rate")[i % 2]] for i in range(300)] for name in ("val", "train")}
    (tmp_path / "a.json").write_text(json.dumps(parts))
    told = report(tmp_path / "a.json")
    assert found(told) == {"several-parts": ("advice", 2, ("a.json",))} and "`--split train` checks one of them" in told.findings[0].message
    one = report(tmp_path / "a.json", split="train")
    assert (one.rows, found(one)) == (300, {"few-rows": ("advice", 300, ())})


GOOD = "".join(json.dumps(row) + "\n" for row in talks(20)).encode()

BAD: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "bad.jsonl", "is empty"),
    "blank": (b"\n\n  \n", "bad.jsonl", "is empty"),
    "one row": (GOOD.splitlines()[0], "bad.jsonl", "only 1 row"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "bad.jsonl", "is UTF-16"),
    "NULs": (GOOD[:400] + b"\0\0\0" + GOOD[400:], "bad.jsonl", "NUL bytes"),
    "latin-1": (GOOD + json.dumps(talk("Gebühr", "keine"), ensure_ascii=False).encode("latin-1"), "bad.jsonl", ":21: byte"),
    "cut gzip": (gzip.compress(GOOD * 50, mtime=0)[:-20], "bad.jsonl.gz", "cut off or damaged"),
    "nested": (GOOD + b'{"messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "bad.jsonl", ":21: "),
    "mixed": (GOOD + b'{"prompt": "a", "completion": "b"}\n', "bad.jsonl", ":21: this row has no `messages`"),
    "broken quote": (b"text,label\n" + b"fine,yes\nalso,no\n" * 10 + b'"never closed,yes\nlast,no\n', "bad.csv", ":22: "),
    "Parquet in name only": (b"PAR1 nothing", "bad.parquet", "Parquet"),
    "not text": (bytes(range(1, 256)) * 10, "bad.jsonl", "bad.jsonl"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_finding_with_a_place(name: str, tmp_path: Path):
    content, file, said = BAD[name]
    (tmp_path / file).write_bytes(content)
    told = report(tmp_path / file)
    assert not told.ready
    assert any(said in finding.message for finding in told.findings if finding.severity == "error"), told.findings


def test_a_byte_order_mark_and_a_long_line_are_no_fault(tmp_path: Path):
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD * 1 + json.dumps(talk("long?", "x" * 10_000_000)).encode())
    told = report(tmp_path / "a.jsonl")
    assert told.ready and told.rows == 21 and told.lengths is not None and told.lengths.quantiles[100] == 10_000_005


@pytest.mark.parametrize("path", ["no.jsonl", "."])
def test_what_is_no_file_is_a_finding(path: str, tmp_path: Path):
    assert list(found(report(tmp_path / path))) == ["unreadable-file"]


def test_the_real_files(shared: Path):
    """Ours to recognize or to refuse with a sentence; PandaLM holds six answers that are JSON booleans."""
    told = report(shared / "data" / "pandalm_human" / "testset-v1.json")
    assert told.rows == 3 * (999 - 6) and found(told)["faulty-row"][1] == 6
    assert told.agreement[0].alpha == pytest.approx(0.86, abs=0.01)
    told = report(shared / "data" / "hh_rlhf_harmless" / "harmless.jsonl")
    assert (
        told.ready and told.pairs is not None and told.pairs.total == 1800 and told.pairs.longer_preferred == pytest.approx(0.45, abs=0.005)
    )
    told = report(shared / "data" / "banking77" / "train.csv", validation=shared / "data" / "banking77" / "test.csv")
    assert told.findings == () and len(told.labels) == 77 and told.rows == 10_003
    told = report(shared / "data" / "fairness_tabular" / "german_named_columns.csv")
    assert list(found(told)) == ["unreadable-file"] and "table" in told.findings[0].message
