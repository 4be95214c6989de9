"""Six behaviours of chat templates, reproduced in small templates of our own, and the real one of Qwen3.

| behaviour | where a completion begins | a finished turn with its think block in the text |
|---|---|---|
| plain ChatML | nothing | as it is |
| hybrid (Qwen3) | nothing; a closed block if thinking is off | as it is; a plain answer gets an empty block |
| thinking (Qwen3-2507) | always `<think>` | as it is; dropped from earlier turns |
| instruct (Qwen3-2507) | nothing, no word of thinking anywhere | as it is |
| prefilling (Qwen3.5) | `<think>`, or a closed block unless told to think | as it is |
| twice (Qwen3.8) | `<think>` | a second block before it: it wants `reasoning_content` |
"""

import dataclasses
import re
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from byte_tokenizer import TEMPLATE, byte_tokenizer
from fetch_qwen3_tokenizer import FOLDER

from mbt_lite.errors import ModelError, RunError
from mbt_lite.files import read_json
from mbt_lite.prompts import completion_text
from mbt_lite.records import Trace
from mbt_lite.student.chat_template import (
    check_end_of_turn,
    prefilled_think,
    prompt_ids,
    record_template,
    template_hash,
)
from mbt_lite.training.rows import encode, encode_traces

QUESTION, TRACE, ANSWER = "about what?", "we think\n\nand doubt", "the answer"
# reads the think block out of the text, as Qwen's templates do
SPLIT = (
    "{% set text = m['content'] %}{% set thought = m['reasoning_content'] or '' %}"
    "{% if '</think>' in text %}{% set thought = text.split('</think>')[0].split('<think>')[1].strip('\n') %}"
    "{% set text = text.split('</think>')[1].lstrip('\n') %}{% endif %}"
)
LAST = "{% if loop.last %}<think>\n{{ thought }}\n</think>\n\n{% endif %}{{ text }}"
OPEN, CLOSED = "<think>\n", "<think>\n\n</think>\n\n"


def template(turn: str, opening: str) -> str:
    """Write a ChatML template from how it renders a finished turn and how it begins one."""
    return (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% if m['role'] == 'assistant' %}" + turn + "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n" + opening + "{% endif %}"
    )


def unless_off(opening: str) -> str:
    return "{% if enable_thinking is false %}" + CLOSED + "{% else %}" + opening + "{% endif %}"


def if_on(opening: str) -> str:
    return "{% if enable_thinking %}" + opening + "{% else %}" + CLOSED + "{% endif %}"


TEMPLATES = {
    "plain ChatML": TEMPLATE,
    "hybrid": template(SPLIT + LAST, unless_off("")),
    "thinking": template(SPLIT + LAST, OPEN),
    "instruct": template("{{ m['content'] }}", ""),
    "prefilling": template(SPLIT + LAST, if_on(OPEN)),
    "twice": template("<think>\n{{ m['reasoning_content'] or '' }}\n</think>\n\n{{ m['content'] }}", unless_off(OPEN)),
}
PREFILLED = {"thinking": OPEN, "prefilling": OPEN, "twice": OPEN}


@pytest.fixture(scope="module")
def byte_by_byte() -> Any:
    """No merges: a token a byte, so that ids can be told without the tokenizer."""
    return byte_tokenizer([""], 259)


@pytest.fixture(scope="module")
def qwen3() -> Any:
    """The real tokenizer of Qwen3, with its own template."""
    if not (FOLDER / "tokenizer_config.json").exists():
        pytest.skip("needs the real Qwen3 tokenizer: python tests/fetch_qwen3_tokenizer.py")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


def make_trace(text: str = TRACE) -> Trace:
    return Trace(
        trace_id="q1:0", question_id="q1", kind="mbt_s", rollout_index=None, trace_index=0, teacher="test",
        scripted=True, prompt_version="0", text=text, answer=ANSWER,
        prompt=({"role": "user", "content": QUESTION},),
        completion=({"role": "assistant", "content": completion_text(text, ANSWER)},),
    )  # fmt: skip


def ids_of(text: str) -> tuple[int, ...]:
    """Write down the ids of a text for `byte_by_byte`: special tokens first, then the bytes in the order GPT-2 has."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    invisible = [byte for byte in range(256) if byte not in visible]
    # the alphabet is sorted by character: visible bytes stand for themselves, the others begin at 256
    place = {byte: 3 + rank for rank, byte in enumerate([*visible, *invisible])}
    special = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    parts = re.split(f"({'|'.join(map(re.escape, special))})", text)
    return tuple(
        number
        for part in parts
        for number in ([special[part]] if part in special else [place[byte] for byte in part.encode()])
    )


@pytest.mark.parametrize("behaviour", TEMPLATES)
def test_encode_gives_the_ids_and_the_mask_written_down_by_hand(behaviour: str, byte_by_byte: Any) -> None:
    byte_by_byte.chat_template = TEMPLATES[behaviour]
    row = encode(make_trace(), byte_by_byte)
    prefilled = PREFILLED.get(behaviour, "")
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n{prefilled}"
    whole = f"<think>\n{TRACE}\n</think>\n\n<answer>{ANSWER}</answer><|im_end|>"
    trained = whole.removeprefix(prefilled)
    assert prefilled_think(byte_by_byte) == prefilled
    assert row.input_ids == ids_of(prompt) + ids_of(trained)
    assert row.completion_mask == (0,) * len(ids_of(prompt)) + (1,) * len(ids_of(trained))


@pytest.mark.parametrize("tokenizer_name", ["byte_by_byte", "qwen3"])
@pytest.mark.parametrize("behaviour", TEMPLATES)
def test_encode_makes_rows_that_hold_what_training_needs(
    behaviour: str, tokenizer_name: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(tokenizer_name)
    own, tokenizer.chat_template = tokenizer.chat_template, TEMPLATES[behaviour]
    try:
        row = encode(make_trace(), tokenizer)
        prompt = prompt_ids(tokenizer, make_trace().prompt)
        rendered = render_finished(tokenizer, behaviour)
    finally:
        tokenizer.chat_template = own
    first = row.completion_mask.index(1)
    trained = row.input_ids[first:]
    # the prompt is a token prefix and nothing of it is trained; all after it is
    assert list(row.input_ids[:first]) == prompt
    assert set(row.completion_mask[first:]) == {1}
    # one end of turn, trained, last
    assert trained.index(tokenizer.eos_token_id) == len(trained) - 1
    # one think pair around the trace, one answer: the template's own rendering of the turn, its last line break aside
    assert tokenizer.decode(row.input_ids) + "\n" == rendered
    turn = tokenizer.decode(row.input_ids).rpartition("<|im_start|>assistant\n")[2]
    assert turn == f"<think>\n{TRACE}\n</think>\n\n<answer>{ANSWER}</answer><|im_end|>"


def render_finished(tokenizer: Any, behaviour: str) -> str:
    """Render the turn by the template, in the one form in which it writes the think block once."""
    inline = make_trace().completion[0]
    split = {"role": "assistant", "reasoning_content": TRACE, "content": f"<answer>{ANSWER}</answer>"}
    reply = split if behaviour == "twice" else inline
    return str(tokenizer.apply_chat_template([*make_trace().prompt, reply], tokenize=False))


def test_the_templates_behave_as_the_table_says(byte_by_byte: Any) -> None:
    """What would have gone wrong, had a template rendered the finished turn."""
    prompt, inline = list(make_trace().prompt), make_trace().completion[0]

    def render(behaviour: str, *messages: Any, **settings: Any) -> str:
        byte_by_byte.chat_template = TEMPLATES[behaviour]
        return str(byte_by_byte.apply_chat_template([*prompt, *messages], tokenize=False, **settings))

    assert CLOSED + "plain" in render("hybrid", {"role": "assistant", "content": "plain"})
    assert "<think>" not in render("hybrid", inline, *prompt)
    assert "<think>" not in render("thinking", inline, *prompt)
    assert render("twice", inline).count("<think>") == 2
    assert render("prefilling", add_generation_prompt=True).endswith(CLOSED)
    assert render("hybrid", add_generation_prompt=True, enable_thinking=False).endswith(CLOSED)


def test_encode_under_the_real_template_of_qwen3(qwen3: Any) -> None:
    row = encode(make_trace(), qwen3)
    opening = [151644, 872, 198, *qwen3(QUESTION)["input_ids"], 151645, 198, 151644, 77091, 198]
    thought = [151667, 198, *qwen3(TRACE)["input_ids"], 198, 151668, 271]
    said = [*qwen3(f"<answer>{ANSWER}</answer>")["input_ids"], 151645]
    assert list(row.input_ids) == [*opening, *thought, *said]
    assert list(row.completion_mask) == [0] * len(opening) + [1] * len([*thought, *said])
    finished = qwen3.apply_chat_template([*make_trace().prompt, *make_trace().completion], tokenize=False)
    assert qwen3.decode(row.input_ids) + "\n" == finished


def test_the_real_template_of_qwen3_is_of_the_hybrid_kind(qwen3: Any) -> None:
    plain = {"role": "assistant", "content": "plain"}
    prompt, reply = list(make_trace().prompt), make_trace().completion[0]
    assert CLOSED + "plain" in qwen3.apply_chat_template([*prompt, plain], tokenize=False)
    assert "<think>" not in qwen3.apply_chat_template([*prompt, reply, *prompt], tokenize=False)
    assert prefilled_think(qwen3) == ""
    check_end_of_turn(qwen3)


def test_prefilled_think_without_a_line_break_leaves_it_to_the_completion(byte_by_byte: Any) -> None:
    byte_by_byte.chat_template = template("{{ m['content'] }}", "<think>")
    row = encode(make_trace(), byte_by_byte)
    first = row.completion_mask.index(1)
    assert byte_by_byte.decode(row.input_ids[first:]).startswith(f"\n{TRACE}\n</think>")


def test_a_template_that_always_closes_the_think_block_is_refused(byte_by_byte: Any) -> None:
    byte_by_byte.chat_template = template("{{ m['content'] }}", CLOSED)
    with pytest.raises(ModelError, match="closes the think block before the student can think"):
        encode(make_trace(), byte_by_byte)


def test_a_template_that_rewrites_the_prompt_is_refused(byte_by_byte: Any) -> None:
    byte_by_byte.chat_template = "{% if add_generation_prompt %}go: {% endif %}" + TEMPLATE
    with pytest.raises(ModelError, match="does not begin as the prompt alone does"):
        encode(make_trace(), byte_by_byte)


def test_a_template_that_ends_its_turns_with_another_token_is_refused(byte_by_byte: Any) -> None:
    byte_by_byte.chat_template = TEMPLATE.replace("<|im_end|>", "<|endoftext|>")
    with pytest.raises(ModelError, match=r"a turn does not end with .*got '<\|endoftext\|>\\n', expected <\|im_end\|>"):
        encode_traces([make_trace()], byte_by_byte, 1000)


@pytest.mark.parametrize("behaviour", TEMPLATES)
def test_encode_refuses_a_second_think_pair_under_every_template(behaviour: str, byte_by_byte: Any) -> None:
    byte_by_byte.chat_template = TEMPLATES[behaviour]
    with pytest.raises(ModelError, match="not exactly one think pair"):
        encode(make_trace("a <think> b </think> c"), byte_by_byte)


@pytest.mark.parametrize("behaviour", TEMPLATES)
def test_encode_traces_counts_overlong_rows_under_every_template(behaviour: str, byte_by_byte: Any) -> None:
    byte_by_byte.chat_template = TEMPLATES[behaviour]
    short, long = make_trace(), dataclasses.replace(make_trace(TRACE * 9), trace_id="q1:1")
    rows = encode_traces([short, long], byte_by_byte, len(encode(short, byte_by_byte).input_ids))
    assert [row.trace_id for row in rows.rows] == ["q1:0"]
    assert rows.too_long == ("q1:1",)


def test_record_template_holds_a_stage_to_the_template_it_began_with(byte_by_byte: Any, tmp_path: Any) -> None:
    byte_by_byte.chat_template = TEMPLATES["hybrid"]
    folder = tmp_path / "sft"
    folder.mkdir()
    first = record_template(folder, byte_by_byte)
    assert record_template(folder, byte_by_byte) == first == template_hash(byte_by_byte)
    assert read_json(folder / "template.json") == {"chat_template": first}
    byte_by_byte.chat_template = TEMPLATES["thinking"]
    with pytest.raises(
        RunError, match=rf"sft: the student's chat template changed since sft began \(got .*was {first}"
    ):
        record_template(folder, byte_by_byte)
    assert read_json(folder / "template.json") == {"chat_template": first}
