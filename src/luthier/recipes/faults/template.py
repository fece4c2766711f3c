"""Faults of a chat template by itself, whatever the rows."""

from collections.abc import Iterator

from luthier.errors import TemplateError
from luthier.spec.finding import Finding
from luthier.spec.rows import Message
from luthier.text.renderer import Renderer

PLACE = ("model.chat_template",)


def of_template(renderer: Renderer) -> Iterator[Finding]:
    """What is wrong with it, and what is worth knowing."""
    notes = {note.kind: str(note) for note in renderer.notes}
    if pieces := [str(note) for note in renderer.notes if note.kind == "split_marker"]:
        remedy = "Take the template that belongs to this tokenizer, or set `model.chat_template=plain`."
        yield Finding("warning", "split-marker", f"{' '.join(pieces)} {remedy}", len(pieces), PLACE)
    if "text_markers" in notes:
        yield Finding("advice", "text-markers", notes["text_markers"], 1, PLACE)
    if "date" in notes:
        yield Finding("advice", "date", notes["date"], 1, PLACE)
    yield from _unknown_end(renderer)
    yield from _no_bos(renderer)


def _unknown_end(renderer: Renderer) -> Iterator[Finding]:
    """An end token that only this template knows."""
    tokenizer, ends = renderer.tokenizer, renderer.template_ends
    if not ends or not tokenizer.eos_ids or ends & tokenizer.eos_ids:
        return
    written, known = (", ".join(f"`{tokenizer.token_of(id)}`" for id in sorted(ids)) for ids in (ends, tokenizer.eos_ids))
    text = (
        f"The chat template ends answers with {written}, the model's own settings stop at {known}. Here generation stops at both; "
        f"other programs may not: add the id of {written} to `eos_token_id` in generation_config.json."
    )
    yield Finding("advice", "other-end-token", text, 1, PLACE)


def _no_bos(renderer: Renderer) -> Iterator[Finding]:
    """BOS neither in training nor when asked, although the model's texts begin with it."""
    tokenizer = renderer.tokenizer
    if not tokenizer.adds_bos or not renderer.template_sources:
        return
    try:
        ids = renderer.prompt_ids([Message("user", "a")])
    except TemplateError:  # it wants more than one question; each row will tell
        return
    if ids[0] != tokenizer.bos_id:
        text = (
            f"This model's texts begin with `{tokenizer.bos}`, as its tokenizer's settings say, but the chat template does not write it. "
            f"Begin the template with {{{{ bos_token }}}}, or set `add_bos_token` to false in tokenizer_config.json."
        )
        yield Finding("warning", "no-bos", text, 1, PLACE)
