"""The table of formats in docs/how-to/data.md: every format stands in it, and every row in it is recognized as what it is said to be."""

import json
import re
from pathlib import Path

from luthier.data.load import FORMATS, recognize
from luthier.spec.folder import names
from luthier.spec.run import DataSource


def table(root: Path) -> dict[str, str]:
    """The example of each format."""
    page = (root / "docs" / "how-to" / "data.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \| ", page, re.MULTILINE))


def test_every_format_stands_in_the_table(root: Path) -> None:
    assert sorted(table(root)) == names(FORMATS)


def test_every_example_is_recognized(root: Path, tmp_path: Path) -> None:
    for name, example in table(root).items():
        file = tmp_path / f"{name}.{'txt' if name == 'dialogue' else 'jsonl'}"
        file.write_text(example + ("\nBot: Hello" if name == "dialogue" else ""), encoding="utf-8")
        found = recognize(DataSource(path=str(file)))
        assert found.format == name
        assert "not read" not in found.mapping
        if name != "dialogue":
            assert json.loads(example)
