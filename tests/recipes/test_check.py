"""Files as one model reads them, and the page of a check."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from luthier.data.survey.report import Report
from luthier.errors import ModelError
from luthier.recipes.check import Reader, Request, check
from luthier.recipes.check_page import coded, render, write_page
from luthier.spec.rows import Conversation, Document, Labeled, Message, Origin, Preference, Ranking, Rating, Row, Thumb
from luthier.spec.run import ModelSpec
from luthier.testing import write_jsonl

USER, ANSWER, OTHER = (Message("user", "abc"),), (Message("assistant", "de"),), (Message("assistant", "fghi"),)
AT = Origin("x", 1)
TURNED = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))


def talk(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture(scope="module")
def reader(toy_folder: Path) -> Reader:
    return Reader(ModelSpec(path=str(toy_folder)))


@pytest.mark.parametrize(
    "row, tokens, learned",
    [
        # BOS, a marker and an end for each turn, and a token a byte: 1 + (2 + 3) + (2 + 2); learned are the answer and its end
        (Conversation((*USER, *ANSWER), AT), 10, 3),
        (Labeled("abc", "de", AT), 10, 3),
        (Preference(USER, ANSWER, OTHER, AT), 12, 3 + 5),
        (Ranking(USER, (ANSWER, OTHER, ANSWER), (1, 2, 3), AT), 12, 3 + 5 + 3),
        (Thumb(USER, ANSWER, True, AT), 10, 3),
        (Rating(USER, OTHER, {"kind": 1.0}, AT), 12, 5),
        (Thumb(TURNED, ANSWER, True, AT), 14, 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_row_is_measured(reader: Reader, row: Row, tokens: int, learned: int):
    found = reader.measure(row)
    assert (found.tokens, found.learned, found.refused) == (tokens, learned, "")


def test_documents_are_divisible(reader: Reader):
    assert reader.measure(Document("x" * 5000, AT)).divisible


def test_tokens_of_a_file_and_the_rows_that_are_too_long(toy_folder: Path, reader: Reader, tmp_path: Path):
    rows = [talk("abc", "de" + "f" * (i % 3)) for i in range(29)] + [talk("abc", "x" * 2000)]
    report = check(Request((str(write_jsonl(tmp_path / "a.jsonl", rows)),), model=ModelSpec(path=str(toy_folder))))
    assert report.tokens is not None and report.tokens.lengths is not None
    assert report.tokens.total == 29 * 10 + sum(i % 3 for i in range(29)) + 8 + 2000
    assert report.tokens.context == reader.context < 2000 and report.tokens.too_long == 1
    assert report.predicted_seconds is not None and 0 < report.predicted_seconds < 3600
    assert "too-long-rows" in {finding.code for finding in report.findings}


def test_what_no_method_learns_from_has_no_predicted_time(toy_folder: Path, tmp_path: Path):
    rows = [{"prompt": f"q{i}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(12)]
    report = check(Request((str(write_jsonl(tmp_path / "a.jsonl", rows)),), model=ModelSpec(path=str(toy_folder))))
    assert report.tokens is not None and report.tokens.total > 0 and report.predicted_seconds is None


def test_markers_of_the_model_are_looked_for(toy_folder: Path, tmp_path: Path):
    rows = [talk(f"q{i}", "a") for i in range(12)] + [talk("<|user|>", "</s>")]
    report = check(Request((str(write_jsonl(tmp_path / "a.jsonl", rows)),), model=ModelSpec(path=str(toy_folder))))
    (marks,) = [finding for finding in report.findings if finding.code == "special-tokens-in-text"]
    assert "`</s>` (1), `<|user|>` (1)" in marks.message


def test_characters_that_a_real_tokenizer_loses(shared: Path, tmp_path: Path):
    """Fault 17, on a real vocabulary of 2,048 tokens without bytes to fall back to."""
    rows = [talk(f"Tell a story, number {i}.", "Once there was a dog.") for i in range(20)] + [talk("And “this”?", "She said “yes”.")]
    model = ModelSpec(path=str(shared / "models" / "tinystories-656k"), chat_template="plain")
    report = check(Request((str(write_jsonl(tmp_path / "a.jsonl", rows)),), model=model))
    assert report.tokens is not None and report.tokens.lost["“"] == 2
    (lost,) = [finding for finding in report.findings if finding.code == "lost-characters"]
    assert lost.severity == "warning" and "“" in lost.message


def test_a_model_that_is_not_here_is_refused_before_anything_is_read(tmp_path: Path):
    with pytest.raises(ModelError, match="neither a folder here"):
        check(Request((str(tmp_path / "no.jsonl"),), model=ModelSpec(path=str(tmp_path / "no-model"))))


class Outline(HTMLParser):
    """Open tags, and what a page asks of elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.asked += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href")] + ([tag] if tag in ("script", "link") else [])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def full(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report with something in every part of the page."""
    folder = tmp_path_factory.mktemp("full")
    rows = [{"text": f"<b>case</b> {i}", "label": ("fee & rate", "loan")[i % 2], "sex": "fm"[i % 2]} for i in range(40)]
    (folder / "a.jsonl").write_text("{broken\n" + write_jsonl(folder / "rows.jsonl", [*rows, rows[0]]).read_text())
    validation = write_jsonl(folder / "v.jsonl", [{"text": "case", "label": "card"}])
    model = ModelSpec(path=str(toy_folder))
    request = Request((str(folder / "a.jsonl"),), (str(validation),), model, group="sex", near_duplicates=True, fix=folder / "clean.jsonl")
    return check(request)


def test_the_page_is_whole_and_asks_nobody_for_anything(full: Report):
    page = Outline(render(full))
    assert page.open == [] and page.asked == []
    assert "Not ready: 1 error" in page.text and "fee & rate" in page.text and "The clean copy" in page.text and "By sex" in page.text


def test_every_finding_stands_on_the_page(full: Report):
    text = re.sub(r"\s+", " ", Outline(render(full)).text)
    assert len(full.findings) >= 4
    for finding in full.findings:
        assert re.sub(r"\s+", " ", finding.message.replace("`", "")) in text


def test_the_page_escapes_what_files_say():
    assert coded("`<b>` & `x`: <i>") == "<code>&lt;b&gt;</code> &amp; <code>x</code>: &lt;i&gt;"


def test_the_page_is_written_over_an_earlier_one(full: Report, tmp_path: Path):
    (tmp_path / "page.html").write_text("old")
    write_page(tmp_path / "page.html", full)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == render(full)
