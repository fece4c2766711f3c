"""Files that people really give: broken, empty, in another encoding, of another kind. Each gets a sentence."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from luthier.data.files import fingerprint
from luthier.data.load import load, read
from luthier.errors import DataError, SettingsError
from luthier.spec.rows import Conversation
from luthier.spec.run import DataSource

ROW = json.dumps({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}) + "\n"


def refusal(path: Path, content: bytes | str | None = None, format: str = "auto") -> str:
    """The sentence for a file, the folder's name left out."""
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as error:
        read(DataSource(path=str(path), format=format))
    assert str(path) in str(error.value)
    return str(error.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_with_the_command_that_converts_it(tmp_path: Path, encoding: str) -> None:
    found = refusal(tmp_path / "a.jsonl", ROW.encode(encoding))
    assert "UTF-16" in found
    assert "iconv -f UTF-16 -t UTF-8 a.jsonl > utf8-a.jsonl" in found


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + ROW.encode())
    assert len(read(DataSource(path=str(file)))) == 1


def test_nul_bytes_are_named_with_their_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.jsonl", ROW.encode() + b'{"messages"\0\0').startswith("a.jsonl:2: this line holds NUL bytes")


def test_a_byte_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    assert "a.jsonl:2: byte 11 of this line (0xfc) is not UTF-8" in refusal(tmp_path / "a.jsonl", ROW.encode() + b'{"prompt":\xfc}')
    assert "a.txt:2: byte 4 of this line (0xfc) is not UTF-8" in refusal(tmp_path / "a.txt", b"first\nf\xc3\xbc\xfcr")


def test_a_row_of_10_mb_in_one_line_is_read(tmp_path: Path) -> None:
    answer = "word " * 2_000_000
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"prompt": "a", "completion": answer}))
    (row,) = read(DataSource(path=str(file)))
    assert isinstance(row, Conversation)
    assert row.messages[1].content == answer


@pytest.mark.parametrize("junk", [b"x" * 10_000_000, b'{"a": "' + b"x" * 10_000_000, b"[" * 10_000_000])
def test_10_mb_of_something_else_in_one_line_gets_a_short_sentence(tmp_path: Path, junk: bytes) -> None:
    assert len(refusal(tmp_path / "a.jsonl", junk)) < 600


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    packed = gzip.compress("".join(f'{{"prompt": "{i}", "completion": "{i * i}"}}\n' for i in range(2000)).encode())
    assert "is a compressed file that is cut off or damaged" in refusal(tmp_path / "a.jsonl.gz", packed[: len(packed) // 2])
    assert "is a compressed file that is cut off or damaged" in refusal(tmp_path / "b.jsonl.gz", packed[:-8] + b"\0" * 8)


def test_a_gzip_is_recognized_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(gzip.compress(ROW.encode()))
    assert len(read(DataSource(path=str(file)))) == 1


@pytest.mark.parametrize(
    "begin, what",
    [(b"PAR1\x15", "is a Parquet file"), (b"PK\x03\x04", "is a zip archive"), (b"%PDF-1.7", "is a PDF"), (b"\x28\xb5\x2f\xfd", "zstd")],
)
def test_files_of_other_kinds_are_named_for_what_they_are(tmp_path: Path, begin: bytes, what: str) -> None:
    assert what in refusal(tmp_path / "a.jsonl", begin + b"\x00\x01\x02")


def test_a_folder_is_refused_with_a_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(ROW)
    assert "is a folder. Name a data file in it, such as data/train.jsonl." in refusal(tmp_path / "data")


def test_a_device_is_refused_instead_of_read_for_ever() -> None:
    with pytest.raises(DataError, match="/dev/zero is a device or a pipe"):
        read(DataSource(path="/dev/zero"))


def test_columns_in_capitals_are_named_with_what_to_do(tmp_path: Path) -> None:
    found = refusal(tmp_path / "a.csv", "Question,Answer\nWhat is it?,It is a file.\n")
    assert "its rows have `Question` and `Answer`. Write the names of its columns in lower case." in found


def test_a_missing_file_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(ROW)
    assert refusal(tmp_path / "trian.jsonl") == "There is no file trian.jsonl. Did you mean `train.jsonl`?"
    assert "There is no file" in refusal(tmp_path / "nowhere" / "at" / "all.jsonl")


@pytest.mark.parametrize("content", ["", "\n\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes | str) -> None:
    assert refusal(tmp_path / "a.jsonl", content) == "a.jsonl is empty. Give a file with at least one row."


def test_a_file_with_no_row_of_its_format_is_refused(tmp_path: Path) -> None:
    assert "holds no row of the format `text`" in refusal(tmp_path / "a.txt", "<|endoftext|>\n<|endoftext|>\n")


@pytest.mark.parametrize(
    "line, sentence",
    [
        ('{"messages": [', "this line is not valid JSON at column 15"),
        ('{"messages": []} extra', "this line is not valid JSON at column 18: extra data"),
        ('{"a": NaN}', "JSON has no NaN or Infinity"),
        ('{"a": "\\ud83d"}', "half a surrogate pair"),
        ('[{"role": "user"}]', "this is a JSON array"),
        ("3", "this line is 3. Each line must hold one JSON object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_that_is_not_an_object_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    found = refusal(tmp_path / "a.jsonl", ROW + line)
    assert found.startswith("a.jsonl:2: ")
    assert sentence in found


def test_a_file_of_two_formats_in_one_row_asks_which(tmp_path: Path) -> None:
    row = {**json.loads(ROW), "prompt": "a", "completion": "b"}
    assert "fits the formats `chat` and `prompt_completion`. Say which" in refusal(tmp_path / "a.jsonl", json.dumps(row))
    assert len(read(DataSource(path=str(tmp_path / "a.jsonl"), format="chat"))) == 1


def test_a_file_that_mixes_formats_is_refused(tmp_path: Path) -> None:
    other = json.dumps({"prompt": "a", "completion": "b"})
    assert "holds rows of the formats `chat` and `prompt_completion`" in refusal(tmp_path / "a.jsonl", ROW + other)
    assert "b.jsonl:3: this row has no `messages`" in refusal(tmp_path / "b.jsonl", ROW * 2 + other)
    assert "c.jsonl:101: this row has no `messages`" in refusal(tmp_path / "c.jsonl", ROW * 100 + other)


def test_a_format_that_does_not_exist_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(ROW)
    with pytest.raises(SettingsError, match=r"There is no format `caht`\. Did you mean `chat`\?"):
        read(DataSource(path=str(tmp_path / "a.jsonl"), format="caht"))


def test_a_format_of_ones_own_needs_only_read(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from luthier.spec.rows import Document, Origin\n\n\n"
        "def read(path):\n"
        "    for number, line in enumerate(path.read_text().split('|'), start=1):\n"
        "        yield Document(line, Origin(str(path), number))\n"
    )
    (tmp_path / "a.bar").write_text("one|two")
    found = load(DataSource(path=str(tmp_path / "a.bar"), format=str(tmp_path / "mine.py")))
    assert [row.origin.line for row in found.rows] == [1, 2]
    assert not found.recognized.automatic


def test_a_format_of_ones_own_that_yields_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def read(path):\n    yield 'a row'\n")
    (tmp_path / "a.jsonl").write_text(ROW)
    assert "mine.py yielded str" in refusal(tmp_path / "a.jsonl", format=str(tmp_path / "mine.py"))


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A loop of links cannot be opened, whoever asks."""
    loop = tmp_path / "a.jsonl"
    loop.symlink_to(loop)
    assert "a.jsonl" in refusal(loop)


def test_the_fingerprint_is_the_sha_256_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(ROW)
    assert fingerprint(str(file)) == hashlib.sha256(ROW.encode()).hexdigest() == load(DataSource(path=str(file))).fingerprint


def test_stories_among_real_dialogues_are_counted(shared: Path) -> None:
    """704 dialogues and 69 stories: every one of the file's 773 stretches between blank lines is accounted for."""
    found = load(DataSource(path=str(shared / "data" / "soda_chat_val" / "chat_val.txt")))
    assert [note.split(": ")[1].split(",")[0] for note in found.notes] == ["69 stretches were left out (text that belongs to no turn)"]
