"""What people really hand in, in every container: each gets a sentence that names the place, no traceback, and no wait."""

import gzip
import json
import resource
import time
import zlib
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from luthier.data.load import load, read, recognize, stream
from luthier.errors import DataError
from luthier.spec.rows import Conversation, Faulty, Labeled, Row
from luthier.spec.run import DataSource

GOOD = {"prompt": "Hi", "completion": "Hello"}


def source(path: Path, content: bytes | str, **settings: Any) -> DataSource:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return DataSource(path=str(path), **settings)


def refusal(path: Path, content: bytes | str, **settings: Any) -> str:
    """The sentence for a file that can't be read, the folder's name left out."""
    with pytest.raises(DataError) as error:
        read(source(path, content, **settings))
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 1500
    return str(error.value).replace(f"{path.parent}/", "")


def faults(given: DataSource) -> tuple[list[Row], list[str]]:
    """The rows that could be read, and the sentences for those that could not."""
    found = list(stream(given))
    folder = str(Path(given.path).parent)
    rows = [row for row in found if not isinstance(row, Faulty)]
    return rows, [fault.why.replace(f"{folder}/", "") for fault in found if isinstance(fault, Faulty)]


def texts(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row.text, row.label) for row in rows if isinstance(row, Labeled)]


class TestLines:
    def test_a_pass_goes_on_after_every_kind_of_faulty_line(self, tmp_path: Path) -> None:
        good = json.dumps(GOOD).encode()
        bad = [
            b'{"prompt": "Hi", "compl',
            b'{"prompt"\0\0: 1}',
            b'{"prompt": "\xff"}',
            b"[" * 10_000,
            b"7",
            b'{"prompt": "a"}',
            b"\xff\xfe",
        ]
        lines = [line for pair in zip([good] * len(bad), bad, strict=True) for line in pair] + [good]
        rows, sentences = faults(source(tmp_path / "a.jsonl", b"\n".join(lines)))
        assert [row.origin.line for row in rows] == [1, 3, 5, 7, 9, 11, 13, 15]
        assert [sentence.split(": ")[0] for sentence in sentences] == [f"a.jsonl:{2 * i}" for i in range(1, 8)]
        for sentence, part in zip(
            sentences,
            ["not valid JSON at column 18", "NUL bytes", "0xff", "nested too deeply", "this line is 7", "no `completion`", "0xff"],
            strict=True,
        ):
            assert part in sentence

    @pytest.mark.parametrize("depth", [1_000, 10_000, 1_000_000])
    def test_a_row_nested_deeply_is_named(self, tmp_path: Path, depth: int) -> None:
        deep = '{"prompt": ' + "[" * depth + "]" * depth + ', "completion": "b"}'
        rows, (sentence,) = faults(source(tmp_path / "a.jsonl", "\n".join([json.dumps(GOOD), deep, json.dumps(GOOD)])))
        assert len(rows) == 2
        assert sentence.startswith("a.jsonl:2: ")

    def test_ten_megabytes_in_one_line_are_read_or_named_at_once(self, tmp_path: Path) -> None:
        begin = time.process_time()
        long = json.dumps({"prompt": "a", "completion": "b" * 10_000_000})
        assert len(read(source(tmp_path / "a.jsonl", long))) == 1
        assert "not valid JSON" in refusal(tmp_path / "b.jsonl", json.dumps(GOOD) + "\n" + long[:-1])
        assert "is not in a format" in refusal(tmp_path / "c.bin", "x" * 10_000_000)
        assert time.process_time() - begin < 2

    def test_a_file_that_breaks_off_gives_what_came_before_and_says_where(self, tmp_path: Path) -> None:
        whole = b"".join(json.dumps({**GOOD, "n": i}).encode() + b"\n" for i in range(20_000))
        rows, (sentence,) = faults(source(tmp_path / "a.jsonl.gz", gzip.compress(whole)[:-2_000]))
        assert 1_000 < len(rows) < 20_000
        assert sentence.startswith(f"a.jsonl.gz:{len(rows) + 1}: here the file breaks off.")

    def test_damage_in_the_middle_of_a_gzip_is_named(self, tmp_path: Path) -> None:
        packed = bytearray(
            gzip.compress(b"".join(json.dumps({**GOOD, "n": zlib.crc32(b"%d" % i)}).encode() + b"\n" for i in range(20_000)))
        )
        packed[len(packed) // 2] ^= 0xFF
        assert "breaks off" in refusal(tmp_path / "a.jsonl.gz", bytes(packed)) or "not valid JSON" in refusal(
            tmp_path / "a.jsonl.gz", bytes(packed)
        )

    @pytest.mark.slow
    def test_a_million_identical_rows_are_read_in_seconds_and_not_held(self, tmp_path: Path) -> None:
        """430 MB. Measured: 2.9 s of one core's time, 32 MB in all."""
        answer = {"role": "assistant", "content": "word " * 64}
        given = source(tmp_path / "a.jsonl", (json.dumps({"messages": [CHAT[0], answer]}) + "\n") * 1_000_000)
        assert Path(given.path).stat().st_size > 400_000_000
        before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        assert sum(isinstance(row, Conversation) for row in stream(given)) == 1_000_000
        assert time.process_time() - begin < 10
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


class TestTables:
    def test_too_few_and_too_many_cells_are_named(self, tmp_path: Path) -> None:
        table = "text,label\nfine film,good\nbad film\nlong, film,bad\nlast film,bad\n"
        rows, sentences = faults(source(tmp_path / "a.csv", table))
        assert texts(rows) == [("fine film", "good"), ("last film", "bad")]
        assert sentences == [
            "a.csv:3: this row has 1 cell, but there are 2 columns: `text` and `label`. Fill in what is missing.",
            "a.csv:4: this row has 3 cells, but there are 2 columns: `text` and `label`. "
            "Put cells that hold the delimiter or a line break in quotes.",
        ]

    def test_a_quote_that_is_never_closed_costs_one_row(self, tmp_path: Path) -> None:
        table = 'text,label\n"fine film,good\nbad film,bad\nlast film,bad\n'
        rows, (sentence,) = faults(source(tmp_path / "a.csv", table))
        assert sentence == "a.csv:2: a quote is opened in this row and never closed. Close it, or double it where it is meant."
        assert texts(rows) == [("bad film", "bad"), ("last film", "bad")]

    @pytest.mark.parametrize("later", ['"a, film",bad', '"quoted",bad', 'x,"bad"'])
    def test_a_quote_that_a_later_one_closes_costs_one_row(self, tmp_path: Path, later: str) -> None:
        rows, (sentence,) = faults(source(tmp_path / "a.csv", f'text,label\none film,good\n"fine film,good\nbad film,bad\n{later}\n'))
        assert sentence.startswith("a.csv:3: a quote")
        assert [row.origin.line for row in rows] == [2, 4, 5]

    def test_a_quote_within_a_quoted_cell_is_named(self, tmp_path: Path) -> None:
        rows, (sentence,) = faults(source(tmp_path / "a.csv", 'text,label\n"the "best" film",good\nbad film,bad\n'))
        assert sentence == 'a.csv:2: a quoted cell goes on after its closing quote. Write a quote within a quoted cell twice: "".'
        assert len(rows) == 1

    def test_ten_thousand_open_quotes_are_no_hang(self, tmp_path: Path) -> None:
        begin = time.process_time()
        table = "text,label\n" + 'a film,good\n"""open,bad\n' * 10_000
        rows, sentences = faults(source(tmp_path / "a.csv", table))
        assert len(rows) + len(sentences) >= 10_000
        assert time.process_time() - begin < 5

    def test_a_cell_of_many_lines_and_quotes_is_read(self, tmp_path: Path) -> None:
        table = 'text,label\r\n"one, ""two""\r\n\r\nthree",good\r\nlast,bad\r\n'
        rows, sentences = faults(source(tmp_path / "a.csv", table))
        assert texts(rows) == [('one, "two"\n\nthree', "good"), ("last", "bad")]
        assert [row.origin.line for row in rows] == [2, 5]
        assert not sentences

    def test_a_cell_of_ten_megabytes_is_read(self, tmp_path: Path) -> None:
        rows, sentences = faults(source(tmp_path / "a.csv", 'text,label\n"' + "a, b" * 2_500_000 + '",good\n'))
        assert not sentences
        assert len(texts(rows)[0][0]) == 10_000_000

    def test_a_header_that_has_a_name_twice_is_refused(self, tmp_path: Path) -> None:
        found = refusal(tmp_path / "a.csv", "text,label,text\na,b,c\n")
        assert found == "a.csv:1: the header has `text` twice. Give each column its own name."

    @pytest.mark.parametrize("delimiter", [";", "\t", "|"])
    def test_other_delimiters_are_noticed(self, tmp_path: Path, delimiter: str) -> None:
        rows, sentences = faults(source(tmp_path / "a.csv", f"text{delimiter}label\na film, a good one{delimiter}good\n"))
        assert texts(rows) == [("a film, a good one", "good")]
        assert not sentences

    def test_quotes_in_a_tsv_may_be_meant_literally(self, tmp_path: Path) -> None:
        table = 'text\tlabel\n"Fine," he said.\tgood\n"quoted\tcell"\tbad\nplain\tbad\n'
        rows, sentences = faults(source(tmp_path / "a.tsv", table))
        assert texts(rows) == [('"Fine," he said.', "good"), ("quoted\tcell", "bad"), ("plain", "bad")]
        assert not sentences

    def test_bytes_that_are_no_text_are_named(self, tmp_path: Path) -> None:
        rows, sentences = faults(source(tmp_path / "a.csv", b'text,label\nK\xf6ln,good\n"N\0L",bad\n"K\xf6,ln",bad\nParis,good\n'))
        assert texts(rows) == [("Paris", "good")]
        assert [sentence.split(" ")[0] for sentence in sentences] == ["a.csv:2:", "a.csv:3:", "a.csv:4:"]
        assert "iconv -f LATIN1 -t UTF-8 a.csv" in sentences[0]
        assert "NUL bytes" in sentences[1]

    @pytest.mark.parametrize("label_first", [False, True])
    def test_a_table_without_a_header_is_noticed(self, tmp_path: Path, label_first: bool) -> None:
        pairs = [("Where is my card?", "arrival"), ("My card, please!", "arrival"), ("What is the rate?", "rate")]
        lines = [",".join([label, f'"{text}"'] if label_first else [f'"{text}"', label]) for text, label in pairs]
        given = source(tmp_path / "a.csv", "\n".join(lines))
        rows, sentences = faults(given)
        assert texts(rows) == pairs
        assert rows[0].origin.line == 1
        assert not sentences
        assert "there is no header: the columns are taken for" in recognize(given).mapping

    def test_a_header_and_nothing_else_is_empty(self, tmp_path: Path) -> None:
        assert refusal(tmp_path / "a.csv", "text,label\n") == "a.csv is empty. Give a file with at least one row."

    def test_utf_16_and_an_empty_table_are_named(self, tmp_path: Path) -> None:
        assert "iconv -f UTF-16" in refusal(tmp_path / "a.csv", "text,label\na,b\n".encode("utf-16"))
        assert "is empty" in refusal(tmp_path / "b.csv", "")
        assert "is empty" in refusal(tmp_path / "c.csv", "\n\n\n")


class TestArrays:
    def test_an_array_that_breaks_in_the_middle_names_line_and_row(self, tmp_path: Path) -> None:
        text = json.dumps([GOOD] * 5, indent=1)
        cut = text[: text.rindex('"prompt"')]
        rows, (sentence,) = faults(source(tmp_path / "a.json", cut))
        assert len(rows) == 4
        assert sentence.startswith(f"a.json:5: in this row, at line {cut.count(chr(10)) + 1}, column ")
        assert sentence.endswith("Mend it there.")

    @pytest.mark.parametrize(
        "text, what",
        [
            (
                '[{"prompt": "a", "completion": "b"}, {"prompt": }]',
                "a.json:2: in this row, at line 1, column 49 of the file, it stops being JSON",
            ),
            ('[{"prompt": "a", "completion": "b"} {"prompt": "a"}]', 'a "," or "]" is missing'),
            ('[{"prompt": "a", "completion": "b"}', "the array is not closed"),
            ('[{"prompt": "a", "completion": "b"}]\n[]', "a.json:2: in this row, at line 2, column 1 of the file"),
            ('[{"prompt": "a", "completion": "b"}, 3]', "a.json:2: this row is 3. Each must be an object"),
            ('[{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": NaN}]', "NaN"),
            ('[{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "\\ud83d"}]', "surrogate"),
            ('[{"prompt": "a", "completion": "b"}, ' + "[" * 100_000, "nested too deeply"),
        ],
    )
    def test_each_way_of_breaking_is_named(self, tmp_path: Path, text: str, what: str) -> None:
        rows, sentences = faults(source(tmp_path / "a.json", text))
        assert rows[0].origin.line == 1
        assert any(what in sentence for sentence in sentences), sentences

    @pytest.mark.parametrize("text", ["[" * 10_000, "[" * 10_000_000, '{"a":' * 10_000, '{"a":' * 100_000])
    def test_a_file_nested_deeply_is_refused(self, tmp_path: Path, text: str) -> None:
        assert refusal(tmp_path / "a.json", text).startswith("a.json:1: ")

    def test_bytes_that_are_no_text_are_named_with_their_line(self, tmp_path: Path) -> None:
        rows, (sentence,) = faults(source(tmp_path / "a.json", b'[\n{"text": "a"},\n{"text": "b"},\n{"text":\n"a\xff"},\n{"text": "c"}]'))
        assert len(rows) == 3
        assert sentence.startswith(
            "a.json:3: in this row, at line 5, column 3 of the file, it stops being JSON: the byte 0xff is not UTF-8."
        )
        assert "a.json:2: this line holds NUL bytes" in refusal(tmp_path / "a.json", b'[\n{"prompt": "a"}\0\0\n]')

    @pytest.mark.parametrize("text", ["[]", "{}", "3", '"text"', "null", "[1, 2]", '{"a": 1}', "{", "[", "[{}]"])
    def test_json_without_rows_is_refused(self, tmp_path: Path, text: str) -> None:
        refusal(tmp_path / "a.json", text)

    def test_objects_over_several_lines_each_are_named_with_what_mends_them(self, tmp_path: Path) -> None:
        found = refusal(tmp_path / "a.json", json.dumps(GOOD, indent=1) + "\n" + json.dumps(GOOD, indent=1))
        assert found.startswith("a.json:5: this file spreads each object over several lines.")
        assert "jq -c . a.json" in found

    def test_a_truncated_gzip_is_named(self, tmp_path: Path) -> None:
        assert "cut off or damaged" in refusal(tmp_path / "a.json.gz", gzip.compress(json.dumps([GOOD] * 500).encode())[:-12])


class TestParquet:
    def test_another_schema_is_refused_with_its_columns(self, tmp_path: Path) -> None:
        table = pyarrow.table({"x": [1.5, 2.5], "when": pyarrow.array([0, 1], pyarrow.timestamp("s")), "raw": [b"\xff", None]})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(DataError, match="its rows have `x`, `when` and `raw`") as error:
            load(DataSource(path=str(tmp_path / "a.parquet")))
        assert "It is a table of measurements without a text to learn from." in str(error.value)

    def test_a_column_of_another_type_is_named_by_row(self, tmp_path: Path) -> None:
        table = pyarrow.table({"text": pyarrow.array([b"\xff", b"a"]), "label": ["x", "y"]})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        _, sentences = faults(DataSource(path=str(tmp_path / "a.parquet")))
        assert sentences[0] == "a.parquet:1: `text` is 1 byte; it must be text in quotes."

    @pytest.mark.parametrize("cut", [10, 200, -20])
    def test_a_file_that_is_cut_off_is_named(self, tmp_path: Path, cut: int) -> None:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GOOD] * 100), tmp_path / "whole.parquet")
        whole = (tmp_path / "whole.parquet").read_bytes()
        assert "is a Parquet file that is cut off or damaged" in refusal(tmp_path / "a.parquet", whole[:cut])
        assert "cut off or damaged" in refusal(tmp_path / "a.parquet.gz", gzip.compress(whole)[: cut if cut < 0 else 50])

    def test_no_rows_is_empty(self, tmp_path: Path) -> None:
        pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "a.parquet")
        with pytest.raises(DataError, match="is empty"):
            load(DataSource(path=str(tmp_path / "a.parquet")))

    def test_class_numbers_get_their_names_where_the_file_holds_them(self, tmp_path: Path) -> None:
        """As Hugging Face's `datasets` writes them, into the schema."""
        features = {"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}}
        table = pyarrow.table({"text": ["a film", "b film"], "label": [1, 0]}).replace_schema_metadata(
            {"huggingface": json.dumps(features)}
        )
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        assert texts(read(DataSource(path=str(tmp_path / "a.parquet")))) == [("a film", "good"), ("b film", "bad")]


def test_a_file_of_one_row_is_read(tmp_path: Path) -> None:
    table = "prompt,completion\nHi,Hello\n"
    for name, content in (("a.jsonl", json.dumps(GOOD)), ("a.json", json.dumps([GOOD])), ("b.json", json.dumps(GOOD)), ("a.csv", table)):
        (row,) = read(source(tmp_path / name, content))
        assert isinstance(row, Conversation)
        assert [turn.content for turn in row.messages] == ["Hi", "Hello"]


def test_mixed_formats_are_named_row_by_row(tmp_path: Path) -> None:
    rows = [GOOD, GOOD, {"text": "a", "label": "b"}, {"messages": CHAT}, GOOD]
    read_rows, sentences = faults(source(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert [row.origin.line for row in read_rows] == [1, 2, 5]
    assert [sentence.split(". ")[0] for sentence in sentences] == [
        "a.jsonl:3: this row has no `prompt` or `completion`",
        "a.jsonl:4: this row has no `prompt` or `completion`",
    ]


def test_a_folder_is_refused_in_a_pass_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        list(stream(DataSource(path=str(tmp_path))))


def test_a_format_of_ones_own_that_fails_ends_the_pass_with_a_fault(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from luthier.errors import DataError\n"
        "from luthier.spec.rows import Document, Origin\n\n\n"
        "def read(path):\n"
        "    yield Document('a', Origin(str(path), 1))\n"
        "    raise DataError('enough')\n"
    )
    first, fault = stream(source(tmp_path / "a.x", "a", format=str(tmp_path / "mine.py")))
    assert not isinstance(first, Faulty)
    assert isinstance(fault, Faulty)
    assert fault.why == "enough"


def test_a_format_of_ones_own_may_read_records(tmp_path: Path) -> None:
    """`row` alone reads every container."""
    (tmp_path / "mine.py").write_text(
        "from luthier.spec.rows import Document\n\n\ndef row(fields, origin):\n    return Document(fields['words'], origin)\n"
    )
    for name, content in (("a.jsonl", '{"words": "some"}'), ("a.csv", "words,n\nsome,1\n"), ("a.json", '[{"words": "some"}]')):
        (row,) = read(source(tmp_path / name, content, format=str(tmp_path / "mine.py")))
        assert row.text == "some"  # type: ignore[union-attr]
