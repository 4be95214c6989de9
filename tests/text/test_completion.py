import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.text.completion import parse_completion

PROPERTY = settings(deadline=None, max_examples=500)
TAG = "</?(?:think|answer)>"
PIECES = st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "Rome", " ", "\n", "no <tag>", "x"])
TEXTS = st.lists(PIECES, max_size=10).map("".join)


@pytest.mark.parametrize(
    ("text", "trace", "answer", "outcome", "is_well_formed"),
    [
        pytest.param("", None, None, "no_answer_tag", False, id="empty"),
        pytest.param("<think>t</think><answer>a</answer>", "t", "a", "answered", True, id="clean"),
        pytest.param(
            " \n<think>\nt\n</think>\n\n<answer> a\n</answer>\n", "\nt\n", "a", "answered", True, id="white space"
        ),
        pytest.param("<think></think><answer></answer>", "", "", "answered", True, id="both empty"),
        pytest.param("<answer>a</answer>", None, "a", "answered", False, id="no think block"),
        pytest.param("so: <answer>a</answer> ok", None, "a", "answered", False, id="no think block, text around"),
        pytest.param("t</think><answer>a</answer>", None, "a", "answered", False, id="close without open"),
        pytest.param(
            "<think>t <answer>a</answer>", "t <answer>a</answer>", None, "unclosed_think", False, id="cut off"
        ),
        pytest.param("<think>t</think>the answer is a", "t", None, "no_answer_tag", False, id="no answer tag"),
        pytest.param("<think>t</think><answer>a", "t", None, "unclosed_answer", False, id="answer not closed"),
        pytest.param("<think>t</think></answer>a<answer>", "t", None, "unclosed_answer", False, id="answer reversed"),
        pytest.param(
            "<think>t</think><answer>a</answer><answer>b</answer>", "t", "b", "answered", False, id="two answers"
        ),
        pytest.param(
            "<think>t</think><answer>a</answer><answer>b",
            "t",
            None,
            "unclosed_answer",
            False,
            id="last answer not closed",
        ),
        pytest.param(
            "<think>t</think><answer>a</answer> b</answer>", "t", "a", "answered", False, id="first close counts"
        ),
        pytest.param(
            "<think>s<think>t</think>u</think><answer>a</answer>", "s<think>t", "a", "answered", False, id="think twice"
        ),
        pytest.param(
            "<think><answer>b</answer></think><answer>a</answer>",
            "<answer>b</answer>",
            "a",
            "answered",
            False,
            id="answer in the trace",
        ),
        pytest.param(
            "<think><answer>a</answer></think>", "<answer>a</answer>", None, "no_answer_tag", False, id="only there"
        ),
        pytest.param("hm <think>t</think><answer>a</answer>", "t", "a", "answered", False, id="text before"),
        pytest.param("<think>t</think>so <answer>a</answer>", "t", "a", "answered", False, id="text between"),
        pytest.param("<think>t</think><answer>a</answer>.", "t", "a", "answered", False, id="text after"),
        pytest.param("<answer>a</answer><think>t</think>", "t", None, "no_answer_tag", False, id="wrong order"),
        pytest.param(
            "</think><think><answer>a</answer>", "<answer>a</answer>", None, "unclosed_think", False, id="close first"
        ),
        pytest.param(
            "<THINK>t</THINK><Answer>a</Answer>", None, None, "no_answer_tag", False, id="tags have one spelling"
        ),
    ],
)
def test_parse_completion_reads_to_the_letter(
    text: str, trace: str | None, answer: str | None, outcome: str, is_well_formed: bool
) -> None:
    parsed = parse_completion(text)
    assert (parsed.trace, parsed.answer, parsed.outcome) == (trace, answer, outcome)
    assert parsed.is_well_formed is is_well_formed


@pytest.mark.parametrize(
    ("text", "trace", "answer", "is_well_formed"),
    [
        pytest.param("t</think><answer>a</answer>", "t", "a", True, id="clean"),
        pytest.param("t <answer>a</answer>", "t <answer>a</answer>", None, False, id="never closed"),
        pytest.param("", "", None, False, id="empty"),
        pytest.param("<think>t</think><answer>a</answer>", "<think>t", "a", False, id="opened again"),
    ],
)
def test_parse_completion_begins_the_trace_at_once_where_the_template_opened_it(
    text: str, trace: str, answer: str | None, is_well_formed: bool
) -> None:
    parsed = parse_completion(text, prefilled_think=True)
    assert (parsed.trace, parsed.answer, parsed.is_well_formed) == (trace, answer, is_well_formed)


@PROPERTY
@given(TEXTS)
def test_parse_completion_agrees_with_a_regular_expression_route(text: str) -> None:
    parsed = parse_completion(text)
    block = re.search(r"<think>(.*?)(</think>|\Z)", text, re.DOTALL)
    assert parsed.trace == (block[1] if block else None)
    assert parsed.think_closed == bool(block and block[2])
    if block and not block[2]:
        assert parsed.answer is None
        return
    # What follows the last opening tag holds no other opening tag.
    rest = text[block.end() :] if block else text
    last = re.search(r"<answer>((?:(?!<answer>).)*)\Z", rest, re.DOTALL)
    assert parsed.answer == (last[1].split("</answer>")[0].strip() if last and "</answer>" in last[1] else None)


@PROPERTY
@given(TEXTS)
def test_is_well_formed_agrees_with_a_regular_expression_route(text: str) -> None:
    inner = f"(?:(?!{TAG}).)*"
    shape = rf"\s*<think>{inner}</think>\s*<answer>{inner}</answer>\s*"
    assert parse_completion(text).is_well_formed == bool(re.fullmatch(shape, text, re.DOTALL))


@PROPERTY
@given(TEXTS)
def test_parse_completion_reads_a_prefilled_text_like_the_whole_text(text: str) -> None:
    assert parse_completion(text, prefilled_think=True) == parse_completion("<think>" + text)


@PROPERTY
@given(TEXTS, st.booleans())
def test_parse_completion_outcome_and_fields_agree(text: str, prefilled_think: bool) -> None:
    parsed = parse_completion(text, prefilled_think=prefilled_think)
    assert (parsed.answer is not None) == (parsed.outcome == "answered")
    assert (parsed.outcome == "unclosed_think") == (parsed.trace is not None and not parsed.think_closed)
    assert not parsed.is_well_formed or (parsed.think_closed and parsed.answer is not None)
