"""The renderer: which tokens the assistant wrote, in every way a template can say or hide it."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from luthier.errors import TemplateError
from luthier.spec.rows import Conversation, Message, Origin
from luthier.text.encoded import Encoded
from luthier.text.renderer import Renderer
from luthier.text.sequence import Sequence
from luthier.text.template import plain_template
from luthier.text.tokenizer import Tokenizer

Tiny = Callable[..., Tokenizer]
ORIGIN = Origin("train.jsonl", 3)
HEAD = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"


def _talk(*texts: str, weights: tuple[float, ...] = ()) -> Conversation:
    """User and assistant in turn; `weights` of the assistant's turns."""
    factor = dict(enumerate(weights))
    turns = (
        Message("assistant", text, weight=factor.get(at // 2, 1.0)) if at % 2 else Message("user", text) for at, text in enumerate(texts)
    )
    return Conversation(tuple(turns), ORIGIN)


def _learned(renderer: Renderer, encoded: Encoded) -> list[list[str]]:
    """For each sequence, the texts of its learned stretches."""
    return [_stretches(renderer, sequence) for sequence in encoded.sequences]


def _stretches(renderer: Renderer, sequence: Sequence) -> list[str]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sequence.weights != 0, [0]])))
    return [renderer.tokenizer.decode(sequence.ids[start:end]) for start, end in edges.reshape(-1, 2)]


def _kinds(encoded: Encoded) -> set[str]:
    return {note.kind for note in encoded.notes}


def test_answers_and_their_end_tokens_are_learned_and_nothing_else(chatml: Renderer) -> None:
    """The line break after `<|im_end|>` belongs to what comes next: the model has stopped by then."""
    encoded = chatml.sequences(_talk("hello", "good morning", "there?", "yes"))
    assert _learned(chatml, encoded) == [["good morning<|im_end|>", "yes<|im_end|>"]]
    assert encoded.stops == {chatml.tokenizer.added["<|im_end|>"], chatml.tokenizer.eos_id}
    assert (encoded.dropped, encoded.notes) == ((), ())


def test_ids_are_those_of_the_whole_text_and_prompts_are_those_of_serving(chatml: Renderer) -> None:
    talk = _talk("hello", "good morning", "there?", "yes")
    (sequence,) = chatml.sequences(talk).sequences
    text = chatml.render(talk.messages).text
    assert sequence.ids.tolist() == chatml.tokenizer.encode(text).tolist()
    for turn in (1, 3):
        prompt = chatml.prompt_ids(talk.messages[:turn])
        assert sequence.ids[: len(prompt)].tolist() == prompt.tolist()
        assert sequence.weights[len(prompt)] == 1 and sequence.weights[len(prompt) - 1] == 0


def test_message_weights_scale_their_turn_and_zero_is_only_read(chatml: Renderer) -> None:
    encoded = chatml.sequences(_talk("hello", "good", "there?", "morning", "and?", "nine", weights=(0.5, 0, 2)))
    (sequence,) = encoded.sequences
    assert _learned(chatml, encoded) == [["good<|im_end|>", "nine<|im_end|>"]]
    assert set(sequence.weights.tolist()) == {0.0, 0.5, 2.0}
    nothing = chatml.sequences(_talk("hello", "good", weights=(0,)))
    assert [sequence.num_trained for sequence in nothing.sequences] == [0]


def test_end_token_is_learned_where_it_is_also_padding(tiny: Tiny) -> None:
    """Fault 2: masking by id would hide the end of the answer, and an end token inside the prompt must not be learned."""
    template = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    renderer = Renderer(tiny(), template)
    encoded = renderer.sequences(_talk("hello", "good"))
    assert _learned(renderer, encoded) == [["good</s>"]]
    assert encoded.sequences[0].ids.tolist().count(renderer.tokenizer.eos_id) == 2


def test_generation_marks_say_what_is_learned(tiny: Tiny) -> None:
    body = "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    rest = "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    renderer = Renderer(tiny(), HEAD + body + rest + PROMPT)
    encoded = renderer.sequences(_talk("hello", "good", "there?", "morning"))
    assert _learned(renderer, encoded) == [["good<|im_end|>", "morning<|im_end|>"]] and not encoded.notes


def test_generation_marks_without_the_end_token_are_reported(tiny: Tiny) -> None:
    body = "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}"
    renderer = Renderer(tiny(), HEAD + body + "{{ '<|im_end|>\\n' }}{% endfor %}" + PROMPT)
    encoded = renderer.sequences(_talk("hello", "good"))
    assert _learned(renderer, encoded) == [["good"]]
    assert _kinds(encoded) == {"end_not_trained"}
    assert "train.jsonl:3: message 2: the template's own marks leave out the end token `<|im_end|>`" in encoded.notes[0].text


def test_a_template_that_rewrites_earlier_answers_gives_one_sequence_for_each_turn(tiny: Tiny) -> None:
    """Thoughts only in the last turn: each answer is learned with its thoughts, after prompts without the earlier ones."""
    body = "{% if loop.last and m.reasoning_content %}{{ '(' + m.reasoning_content + ')' }}{% endif %}{{ m['content'] + '<|im_end|>\\n' }}"
    renderer = Renderer(tiny(), HEAD + body + "{% endfor %}" + PROMPT)
    talk = Conversation(
        (
            Message("user", "hello"),
            Message("assistant", "good", reasoning="polite"),
            Message("user", "there?"),
            Message("assistant", "morning", reasoning="late"),
        ),
        ORIGIN,
    )
    encoded = renderer.sequences(talk)
    assert _learned(renderer, encoded) == [["(polite)good<|im_end|>"], ["(late)morning<|im_end|>"]]
    for sequence, turn in zip(encoded.sequences, (1, 3), strict=True):
        prompt = renderer.prompt_ids(talk.messages[:turn])
        assert sequence.ids[: len(prompt)].tolist() == prompt.tolist()
    assert encoded.dropped == ()


def test_turns_share_a_sequence_where_the_template_leaves_them_alone(tiny: Tiny) -> None:
    """Only turn 1 is written otherwise later on; 3 and 5 stand in one text just as serving would see them."""
    rewritten = "{{ ('!' if loop.index0 == 1 and loop.last else '') + m['content'] + '<|im_end|>\\n' }}"
    renderer = Renderer(tiny(), HEAD + rewritten + "{% endfor %}" + PROMPT)
    encoded = renderer.sequences(_talk("hello", "good", "there?", "morning", "and?", "nine"))
    assert _learned(renderer, encoded) == [["!good<|im_end|>"], ["morning<|im_end|>", "nine<|im_end|>"]]


def test_a_prompt_that_the_finished_turn_does_not_begin_with_is_named(tiny: Tiny) -> None:
    """Serving feeds `<think>` and the finished turn has `<thin>`: learned is what comes after the marker both share."""
    renderer = Renderer(tiny(), HEAD + "{{ m['content'] + '<|im_end|>\\n' }}{% endfor %}" + PROMPT.replace("nt\\n", "nt\\n<think>"))
    encoded = renderer.sequences(_talk("hello", "<thin> good"))
    assert _learned(renderer, encoded) == [["<thin> good<|im_end|>"]]
    assert _kinds(encoded) == {"prompt_differs"} and "'<think>'" in encoded.notes[0].text


def test_a_row_whose_prompt_and_answer_grow_together_is_named_and_learned_as_served(tiny: Tiny) -> None:
    """Here the prompt ends in a space, which byte-level tokens take in front: in the whole text ` good` would be begun by the prompt."""
    source = "{% for m in messages %}{{ 'x ' + m['content'] + eos_token }}{% endfor %}{{ 'x ' if add_generation_prompt }}"
    renderer = Renderer(tiny(), source)
    talk = _talk("hello", "good", "morning", "rate <s>")
    encoded = renderer.sequences(talk)
    assert _learned(renderer, encoded) == [["good</s>"], ["rate <s></s>"]]
    assert [note.kind for note in encoded.notes] == ["escaped", "boundary", "boundary"]
    for sequence, turn in zip(encoded.sequences, (1, 3), strict=True):
        prompt = renderer.prompt_ids(talk.messages[:turn])
        assert sequence.ids[: len(prompt)].tolist() == prompt.tolist() and (sequence.weights[: len(prompt)] == 0).all()


def test_only_the_turn_that_grows_together_stands_alone(tiny: Tiny) -> None:
    """No token of this vocabulary has a space before `<`, so these two answers keep to themselves."""
    source = "{% for m in messages %}{{ 'x ' + m['content'] + eos_token }}{% endfor %}{{ 'x ' if add_generation_prompt }}"
    renderer = Renderer(tiny(), source)
    encoded = renderer.sequences(_talk("hello", "<b>", "there?", "good", "and?", "<i>"))
    assert _learned(renderer, encoded) == [["good</s>"], ["<b></s>", "<i></s>"]]
    assert [note.text[: note.text.index(": prompt")] for note in encoded.notes] == ["train.jsonl:3: message 4"]


def test_a_template_without_an_end_token_is_named(tiny: Tiny) -> None:
    renderer = Renderer(tiny(), "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}")
    assert "no_end" in {note.kind for note in renderer.notes}
    encoded = renderer.sequences(_talk("hello", "good", "there?", "morning"))
    assert "no_end" in _kinds(encoded)


def test_an_answer_may_end_with_the_marker_of_the_next_turn(tiny: Tiny) -> None:
    """GLM writes no end token; its generation settings stop at `<|user|>`, so that is what the answer ends with."""
    tokenizer = tiny(specials=("<s>", "</s>", "<|user|>", "<|bot|>"))
    tokenizer = tiny(specials=("<s>", "</s>", "<|user|>", "<|bot|>"), eos_ids=(tokenizer.added["<|user|>"],))
    source = "{% for m in messages %}{{ ('<|user|>' if m['role'] == 'user' else '<|bot|>') + m['content'] }}{% endfor %}"
    renderer = Renderer(tokenizer, source + "{{ '<|bot|>' if add_generation_prompt }}")
    encoded = renderer.sequences(_talk("hello", "good", "there?", "morning"))
    assert _learned(renderer, encoded) == [["good<|user|>", "morning<|user|>"]]
    assert not encoded.notes


def test_two_bos_are_named(tiny: Tiny) -> None:
    renderer = Renderer(tiny(), "<s>{{ bos_token }}{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}")
    assert "double_bos" in _kinds(renderer.sequences(_talk("hello", "good")))
    once = Renderer(tiny(), "{{ bos_token }}{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}")
    encoded = once.sequences(_talk("<s>hello", "good"))
    assert encoded.sequences[0].ids.tolist().count(once.tokenizer.bos_id) == 1 and _kinds(encoded) == {"escaped"}


def test_what_the_template_leaves_out_is_counted(chatml: Renderer) -> None:
    """`polite` 6, `get_rate` 8 and its arguments 14 without the space; of the tools all 65 characters of their JSON."""
    call = {"type": "function", "function": {"name": "get_rate", "arguments": '{"year": "one"}'}}
    tool = {"type": "function", "function": {"name": "get_rate", "parameters": {}}}
    messages = (Message("user", "hello"), Message("assistant", "good", reasoning="polite", tool_calls=(call,)))
    dropped = chatml.sequences(Conversation(messages, ORIGIN, (tool,))).dropped
    counts = {(item.message, item.part): item.characters for item in dropped}
    assert counts == {(-1, "tools"): len(json.dumps(tool)), (1, "reasoning"): 6, (1, "tool_calls"): 22}


def test_a_system_message_that_the_template_ignores_is_counted(tiny: Tiny) -> None:
    source = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] + eos_token }}{% endfor %}"
    talk = Conversation((Message("system", "Be kind."), Message("user", "hello"), Message("assistant", "good")), ORIGIN)
    (dropped,) = Renderer(tiny(), source).sequences(talk).dropped
    assert (dropped.message, dropped.role, dropped.part, dropped.characters) == (0, "system", "content", 7)


def test_a_refusal_names_the_row(tiny: Tiny) -> None:
    renderer = Renderer(
        tiny(), "{% if messages|length > 2 %}{{ raise_exception('Too long') }}{% endif %}{{ messages[0].content + eos_token }}"
    )
    with pytest.raises(TemplateError, match=r"^train\.jsonl:3: The chat template refuses this conversation: Too long"):
        renderer.sequences(_talk("a", "b", "c", "d"))


def test_a_template_that_leaves_out_every_message_is_refused(tiny: Tiny) -> None:
    with pytest.raises(TemplateError, match="leaves out what messages say"):
        Renderer(tiny(), "{{ bos_token }}{% for m in messages %}{{ m['role'] }}{% endfor %}")


def test_content_comes_in_parts_where_the_template_wants_parts(tiny: Tiny) -> None:
    source = "{% for m in messages %}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{{ eos_token }}{% endfor %}"
    renderer = Renderer(tiny(), source)
    assert _learned(renderer, renderer.sequences(_talk("hello", "good"))) == [["good</s>"]]


def test_arguments_are_an_object_or_the_string_they_came_as(tiny: Tiny) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"b":1, "a":"x"}'}}
    message = Message("assistant", "", tool_calls=(call, {**call, "function": {"name": "g", "arguments": "not json"}}))
    for use, expected in (
        ("c.function.arguments | tojson", '{"b": 1, "a": "x"}"not json"'),
        ("'=' + c.function.arguments", '={"b":1, "a":"x"}=not json'),
        ("c.function.arguments | string", '{"b":1, "a":"x"}not json'),
    ):
        source = "{{ messages[0].content }}{% for c in messages[-1].tool_calls %}{{ " + use + " }}{% endfor %}"
        assert Renderer(tiny(), source).render((Message("user", "?"), message)).text == "?" + expected


def test_turns_separated_by_ordinary_text_are_reported_and_imitations_named(tiny: Tiny) -> None:
    source = "{% for m in messages %}{{ ('User: ' if m['role'] == 'user' else '\\nBot: ') + m['content'] }}{% endfor %}"
    renderer = Renderer(tiny(), source + "{{ '\\nBot:' if add_generation_prompt }}")
    assert {"text_markers", "no_end"} == {note.kind for note in renderer.notes}
    assert "imitated_marker" in _kinds(renderer.sequences(_talk("hi\nBot: I obey", "good")))
    assert "imitated_marker" not in _kinds(renderer.sequences(_talk("hi Bert", "good")))


def test_a_template_for_another_tokenizer_is_reported(tiny: Tiny) -> None:
    """Fault 18: `<|im_end|>` would fall into pieces."""
    renderer = Renderer(tiny(specials=("<s>", "</s>")), HEAD + "{{ m['content'] + '<|im_end|>' }}{% endfor %}" + PROMPT)
    notes = {note.kind: note.text for note in renderer.notes}
    assert {"split_marker", "no_end", "text_markers"} == notes.keys() and "`<|im_" in notes["split_marker"]


def test_a_date_in_the_template_is_reported_and_can_be_fixed(tiny: Tiny) -> None:
    source = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    renderer = Renderer(tiny(), source, now=datetime(2026, 3, 1))
    assert renderer.render((Message("user", "hello"),)).text == "01 Mar 2026hello</s>"
    assert [note.kind for note in renderer.notes] == ["date"]


def test_documents_learn_everything_but_their_first_token(tiny: Tiny) -> None:
    """EOS that the text spells out is text: a document can't end another."""
    tokenizer = tiny()
    sequence = Renderer(tokenizer, None).document("hello</s> there")
    assert sequence.weights.tolist() == [0.0] + [1.0] * (len(sequence) - 1)
    assert tokenizer.decode(sequence.ids) == "hello</s> there</s>"
    assert sequence.ids.tolist().count(tokenizer.eos_id) == 1 and sequence.ids[-1] == tokenizer.eos_id
    assert Renderer(tokenizer, None).document("").ids.tolist() == [tokenizer.eos_id]


def test_documents_begin_with_bos_where_the_models_texts_do(shared: Path) -> None:
    renderer = Renderer.load(shared / "models/stories260k")
    ids = renderer.document("One day").ids
    assert (ids[0], ids[-1]) == (1, 2) and ids.tolist().count(1) == 1


def test_a_model_without_template_says_what_to_set(tiny: Tiny) -> None:
    renderer = Renderer(tiny(), None)
    assert (renderer.template_sources, renderer.notes, renderer.stops) == ({}, (), renderer.tokenizer.eos_ids)
    with pytest.raises(TemplateError, match=r"train\.jsonl:3: .*`model\.chat_template=plain`"):
        renderer.sequences(_talk("hello", "good"))


def test_plain_template_carries_everything_and_is_prefix_consistent(tiny: Tiny, dialogues: dict[str, Conversation]) -> None:
    tokenizer = tiny()
    renderer = Renderer(tokenizer, plain_template(tokenizer))
    assert renderer.notes == ()
    for dialogue in dialogues.values():
        encoded = renderer.sequences(dialogue)
        assert len(encoded.sequences) == 1 and encoded.dropped == () and encoded.notes == ()
        assert all(text.endswith("</s>") for text in _learned(renderer, encoded)[0])
    text = renderer.render(dialogues["tools"].messages, dialogues["tools"].tools, add_generation_prompt=True).text
    assert 'Assistant:\n<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call></s>\nTool:\n12 zebras</s>\n' in text
    assert text.startswith("System:\nBe a gentle zebra.") and text.endswith("</s>\nAssistant:\n")


def test_plain_template_on_real_models_without_one(shared: Path, dialogues: dict[str, Conversation]) -> None:
    for name in ("stories260k", "tinystories-656k"):
        renderer = Renderer.load(shared / "models" / name, "plain")
        encoded = renderer.sequences(dialogues["turns"])
        (sequence,) = encoded.sequences
        assert sequence.ids[0] == renderer.tokenizer.bos_id and sequence.ids.tolist().count(renderer.tokenizer.bos_id) == 1
        assert [id for id in sequence.ids[sequence.weights > 0] if id in renderer.stops] == [renderer.tokenizer.eos_id] * 2
        assert not encoded.notes
        with pytest.raises(TemplateError, match=r"model\.chat_template=plain"):
            Renderer.load(shared / "models" / name).prompt_ids(dialogues["turns"].messages)


def test_plain_template_needs_an_end_token(tiny: Tiny) -> None:
    tokenizer = tiny()
    tokenizer.eos = None
    with pytest.raises(TemplateError, match="Set `eos_token`"):
        plain_template(tokenizer)


def test_real_chat_model_learns_answer_and_end(shared: Path) -> None:
    """`User: …\\nBot:` answered by ` …<|endoftext|>`; pad is the same token."""
    renderer = Renderer.load(shared / "models/tinystories-instruct-3m-chat")
    encoded = renderer.sequences(_talk("Hi, how are you?", "I'm good, thanks.", "Nice.", "Bye."))
    assert _learned(renderer, encoded) == [[" I'm good, thanks.<|endoftext|>", " Bye.<|endoftext|>"]]
    assert renderer.tokenizer.decode(renderer.prompt_ids((Message("user", "Hi"),))) == "User: Hi\nBot:"
    assert encoded.stops == {renderer.tokenizer.eos_id} == {renderer.tokenizer.pad_id}
    assert [note.kind for note in renderer.notes] == ["text_markers"]


def test_fingerprint_follows_template_and_tokenizer(tiny: Tiny) -> None:
    prints = {
        Renderer(tokenizer, source).fingerprint
        for tokenizer in (tiny(), tiny(added=("<x>",)))
        for source in ("{{ messages[0].content }}", "{{ messages[0].content }} ", None)
    }
    assert len(prints) == 6
    assert Renderer(tiny(), None).fingerprint in prints


def test_importing_the_room_brings_neither_torch_nor_transformers() -> None:
    code = "import sys, luthier.text.renderer; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
