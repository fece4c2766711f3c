"""Clean copies: what stays is copied byte by byte, what goes is named by line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.survey import clean
from luthier.data.survey.counted import Options
from luthier.data.survey.report import Fixed
from luthier.data.survey.survey import survey
from luthier.errors import DataError
from luthier.spec.run import DataSource
from luthier.testing import write_jsonl


def fix(path: Path, out: Path, validation: Path | None = None, **options: Any) -> Fixed:
    others = [DataSource(path=str(validation))] if validation else []
    return clean.write(survey([DataSource(path=str(path))], others, Options(**options)), out)


def left_out(fixed: Fixed) -> dict[str, list[tuple[int, int]]]:
    return {part.why: list(part.lines) for part in fixed.left_out}


def talk(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_lines_are_copied_as_they_stand(tmp_path: Path):
    odd = b'{ "messages" :[{"content":"caf\\u00e9?","role":"user"},{"role":"assistant","content":"oui"}], "id": 7 }'
    lines = [*(json.dumps(talk(f"q{i}", "a")).encode() for i in range(12)), odd, b"", b"{broken", json.dumps(talk("q3", "a")).encode()]
    (tmp_path / "a.jsonl").write_bytes(b"\r\n".join(lines))
    fixed = fix(tmp_path / "a.jsonl", tmp_path / "clean.jsonl")
    assert (tmp_path / "clean.jsonl").read_bytes().splitlines() == [*lines[:12], odd]
    assert fixed.kept == 13
    (broken, again) = left_out(fixed).items()
    assert broken[0].startswith("this line is not valid JSON") and broken[1] == [(15, 15)]
    assert again == ("the same as an earlier row", [(16, 16)])


def test_what_is_clean_stays_clean(tmp_path: Path):
    rows = [talk(f"q{i % 40}", f"a{i % 40}") for i in range(100)]
    train, validation = write_jsonl(tmp_path / "a.jsonl", rows), write_jsonl(tmp_path / "v.jsonl", rows[:3])
    fixed = fix(train, tmp_path / "clean.jsonl", validation)
    assert (fixed.kept, left_out(fixed)) == (37, {"the same as an earlier row": [(41, 100)], "a validation row, too": [(1, 3)]})
    again = fix(tmp_path / "clean.jsonl", tmp_path / "cleaner.jsonl", validation)
    assert (again.kept, again.left_out) == (37, ())
    assert (tmp_path / "clean.jsonl").read_bytes() == (tmp_path / "cleaner.jsonl").read_bytes()


def test_pairs_with_equal_answers_and_near_duplicates_go(tmp_path: Path):
    long = "the yearly fee of this card is thirty euros and is waived where it is used at least {} times"
    pairs = [{"prompt": f"q{i}", "chosen": long.format(f"{i} {i}{i} x{i} y{i}"), "rejected": f"no {i}"} for i in range(10)]
    pairs += [{"prompt": "q", "chosen": "same", "rejected": "same"}, {**pairs[4], "rejected": "never 4"}]
    path = write_jsonl(tmp_path / "a.jsonl", pairs)
    assert left_out(fix(path, tmp_path / "plain.jsonl")) == {"both answers are the same": [(11, 11)]}
    near = left_out(fix(path, tmp_path / "near.jsonl", near_duplicates=True))
    assert near == {"both answers are the same": [(11, 11)], "nearly the same as an earlier row": [(12, 12)]}


def test_a_line_with_several_judgements_goes_only_as_a_whole(tmp_path: Path):
    """Line 2 repeats what ann said in line 1, and has ben's word besides."""
    both = {"instruction": "q", "input": "", "response1": "a", "response2": "b", "annotator1": 1, "annotator2": 2}
    rows = [both, {**both, "annotator2": 1}, both, *({**both, "instruction": f"q{i}"} for i in range(10))]
    fixed = fix(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "clean.jsonl")
    assert left_out(fixed) == {"the same as an earlier row": [(3, 3)]} and fixed.kept == 12


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.json.gz", "a.parquet"])
def test_other_containers_become_jsonl_with_all_their_fields(name: str, tmp_path: Path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"text": f"case {i % 30}", "label": ("fee", "rate")[i % 2], "id": str(i % 30)} for i in range(40)]
    path = tmp_path / name
    if name.endswith(".csv"):
        path.write_text("\n".join(["text,label,id", *(",".join(row.values()) for row in rows)]))
    elif name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        data = json.dumps(rows).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    fixed = fix(path, tmp_path / "clean.jsonl")
    assert [json.loads(line) for line in (tmp_path / "clean.jsonl").read_text().splitlines()] == rows[:30]
    assert fixed.kept == 30 and sum(part.count for part in fixed.left_out) == 10


def test_text_becomes_jsonl_of_its_kind(tmp_path: Path):
    (tmp_path / "a.txt").write_text(
        "User: hi\nBot: hello<|endoftext|>\n\nUser: hi\nBot: hello<|endoftext|>\n\nUser: bye\nBot: so long<|endoftext|>\n"
    )
    fix(tmp_path / "a.txt", tmp_path / "clean.jsonl.gz")
    with gzip.open(tmp_path / "clean.jsonl.gz", "rt") as file:
        assert [json.loads(line) for line in file] == [talk("hi", "hello"), talk("bye", "so long")]


@pytest.mark.parametrize(
    "name, said", [("there.jsonl", "nothing is written over"), ("a.csv", "ends in .jsonl"), ("no/a.jsonl", "no folder")]
)
def test_no_file_is_written_over(name: str, said: str, tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", [talk(f"q{i}", "a") for i in range(12)])
    (tmp_path / "there.jsonl").write_text("mine")
    with pytest.raises(DataError, match=said):
        fix(path, tmp_path / name)
    assert (tmp_path / "there.jsonl").read_text() == "mine"


def test_a_file_that_breaks_off_is_saved_up_to_there(tmp_path: Path):
    lines = [json.dumps(talk(f"question {i}", f"answer {i * i}")) for i in range(2000)]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0)[:-2000])
    fixed = fix(tmp_path / "a.jsonl.gz", tmp_path / "clean.jsonl")
    kept = (tmp_path / "clean.jsonl").read_text().splitlines()
    assert 100 < len(kept) < 2000 and kept == lines[: len(kept)] and fixed.kept == len(kept)
    assert len(fixed.left_out) == 1 and "breaks off" in fixed.left_out[0].why


@pytest.mark.parametrize("content", ["", "{broken\n" * 20, "no such rows\n"])
def test_nothing_is_written_where_no_row_is_left(content: str, tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(content)
    fixed = fix(tmp_path / "a.jsonl", tmp_path / "clean.jsonl")
    assert (fixed.path, fixed.kept) == ("", 0) and not (tmp_path / "clean.jsonl").exists()


def test_one_file_at_a_time(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", [talk(f"q{i}", "a") for i in range(12)])
    found = survey([DataSource(path=str(path)), DataSource(path=str(path))])
    with pytest.raises(DataError, match="one file at a time"):
        clean.write(found, tmp_path / "clean.jsonl")
