"""The notebook runs from its first cell to its last, in a folder of its own."""

import warnings
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = "examples/sft.ipynb"


@pytest.fixture(scope="module")
def outputs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What each cell with code put out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what notebook tools say to each other
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.read(root / NOTEBOOK, as_version=4)
        folder = tmp_path_factory.mktemp("notebook")
        NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def text_of(outputs: list[Any]) -> str:
    """Everything printed or shown as text."""
    return "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs)


@pytest.mark.slow
def test_every_cell_shows_what_it_says(outputs: list[list[Any]]):
    _, _, training, table, figure, chat, checks, merged = outputs
    assert "succeeded" in text_of(training)
    assert "<table>" in table[0]["data"]["text/html"]
    assert "image/png" in figure[0]["data"]
    assert len(figure) == 1, "the figure is shown once"
    assert "before:" in text_of(chat)
    assert {line.split("  ")[0] for line in text_of(checks).splitlines()} == {"same"}
    assert "difference=" in text_of(merged)


@pytest.mark.slow
def test_nothing_is_complained_about(outputs: list[list[Any]]):
    assert [o["text"] for cell in outputs for o in cell if o.get("name") == "stderr"] == []


def test_the_notebook_is_kept_without_outputs(root: Path):
    import json

    cells = json.loads((root / NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
