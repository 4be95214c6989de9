"""A teacher's reply as it is read: labels, markdown, think blocks, declining; nothing that was said may be lost."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite import prompts
from mbt_lite.data.questions import read_questions
from mbt_lite.files import read_jsonl
from mbt_lite.recipe.schema import Questions
from mbt_lite.text.phases import LABELS, PHASES
from mbt_lite.traces.checks import Rules, rejection
from mbt_lite.traces.markdown import strip_markdown
from mbt_lite.traces.phase_labels import are_in_order, has_other_labels, phases_by_order, split_labels
from mbt_lite.traces.reply import TeacherText, read_reply

WORDS = ("We ask.", "We plan.", "We do.", "We doubt.", "We check.")


def read(reply: str) -> TeacherText:
    return read_reply(reply, has_phases=True)


def pieces(found: TeacherText) -> list[tuple[str, str]]:
    return [(span.phase, found.text[span.start : span.end]) for span in found.phases]


# how models label five parts, whatever they were asked for
STYLES = {
    "as asked": "[{label}]\n{words}",
    "on the same line": "[{label}] {words}",
    "capitals": "[{Label}]\n\n{words}",
    "bold brackets": "**[{label}]**\n{words}",
    "heading": "## {Name}\n{words}",
    "numbered heading": "### Phase {number}: {Name}\n{words}",
    "bold": "**{Name}**\n{words}",
    "bold and colon": "**{Name}:** {words}",
    "colon in bold, list": "{number}. **{Name}**: {words}",
    "colon": "{Name}: {words}",
    "dash": "{Name} – {words}",
    "step": "Step {number} - {Name}\n{words}",
    "angle brackets": "<{label}>\n{words}",
    "parentheses": "({Label})\n{words}",
}
NAMES = ("Understanding and Filtering", "Planning", "Execution & Monitoring", "Self-Correction", "Verification")


@pytest.mark.parametrize("style", STYLES)
def test_read_reply_takes_labels_off_in_whatever_style(style: str) -> None:
    parts = [
        STYLES[style].format(label=label, Label=label.capitalize(), Name=name, number=number, words=words)
        for number, (label, name, words) in enumerate(zip(LABELS.values(), NAMES, WORDS, strict=True), 1)
    ]
    found = read("\n\n".join(parts))
    assert pieces(found) == list(zip(PHASES, WORDS, strict=True))
    assert found.text == "\n\n".join(WORDS)


def test_read_reply_keeps_parts_that_come_again_and_paragraphs_within_a_part() -> None:
    found = read("[understand]\nA.\n[plan]\nB.\n[execute]\nC.\n\nC two.\n[correct]\nD.\n[execute]\nE.\n[verify]\nF.")
    assert [phase for phase, _ in pieces(found)] == [*PHASES[:4], "execute_monitor", "verify"]
    assert pieces(found)[2] == ("execute_monitor", "C.\n\nC two.")
    assert are_in_order(found.phases)


def test_read_reply_drops_a_greeting_but_not_an_understanding_without_label() -> None:
    rest = "[plan]\nB.\n[execute]\nC.\n[verify]\nD."
    greeted = read(f"Sure, here it is:\n\n[understand]\nA.\n{rest}")
    assert (greeted.text[:2], greeted.taken_off) == ("A.", {"greeting": 1})
    assert pieces(read(f"A.\n\n{rest}"))[0] == ("understand_filter", "A.")


def test_read_reply_leaves_single_words_that_could_be_labels_where_they_are() -> None:
    text = "Planning: a town plans.\n\nCorrect: document 3 says so.\n\nWe go on.\n\nVerify we do."
    assert read(text).text == text
    assert [phase for phase, _ in pieces(read(text))] == ["understand_filter", "plan", "execute_monitor", "verify"]


def test_read_reply_counts_a_label_without_words_as_no_phase() -> None:
    found = read("[understand]\nA.\n[plan]\n[execute]\nC.\n[verify]\nD.")
    assert [phase for phase, _ in pieces(found)] == ["understand_filter", "execute_monitor", "verify"]


@pytest.mark.parametrize(
    ("count", "phases"),
    [
        (0, ()),
        (3, ()),
        (4, ("understand_filter", "plan", "execute_monitor", "verify")),
        (5, PHASES),
        (7, (*PHASES[:3], "execute_monitor", "execute_monitor", "self_correct", "verify")),
    ],
)
def test_phases_by_order_takes_paragraphs(count: int, phases: tuple[str, ...]) -> None:
    # equal paragraphs are told apart by their place
    text = "\n\n".join(["We go."] * count)
    spans = phases_by_order(text)
    assert tuple(span.phase for span in spans) == phases
    assert [text[span.start : span.end] for span in spans] == ["We go."] * len(phases)
    assert sorted(span.start for span in spans) == [8 * place for place in range(len(phases))]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("UNSUPPORTED: no document names her.", "no document names her"),
        ("**UNSUPPORTED:** it is *another* Atlanta", "it is *another* Atlanta"),
        ("Unsupported - a bay, not a river.", "a bay, not a river"),
        ("UNSUPPORTED", "no reason given"),
        ("UNSUPPORTED: no.\n\nThe documents only name her brother.", "no.\n\nThe documents only name her brother"),
        ("<think>Is it?</think>\nUNSUPPORTED: no.", "no"),
        ("```\nUNSUPPORTED: no.\n```", "no"),
        ("[understand]\nWe ask.\n[plan]\nWe stop.\n\nUNSUPPORTED: the year is missing.", "the year is missing"),
    ],
)
def test_read_reply_knows_one_that_declines(reply: str, reason: str) -> None:
    assert read(reply).unsupported == reason
    assert read_reply(reply, has_phases=False).unsupported == reason


def test_read_reply_of_a_copied_example_declines_nothing() -> None:
    found = read("Key facts: a.\nSteps: b.\nUNSUPPORTED: What is missing, in one sentence")
    assert found.unsupported is None
    assert has_other_labels(found.text)


def test_read_reply_that_goes_on_after_declining_is_none_but_never_a_trace() -> None:
    found = read("[understand]\nA.\n[plan]\nB.\n[correct]\nC.\nUNSUPPORTED: Hm.\n[verify]\nSo it is D.")
    assert found.unsupported is None
    assert has_other_labels(found.text)


def test_read_reply_of_a_word_in_small_letters_declines_nothing() -> None:
    assert read("We ask.\n\nThe claim is unsupported: look again.").unsupported is None


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<think>The user wants it.</think>\n\nWe ask.", "We ask."),
        ("The user wants it.\n</think>\nWe ask.", "We ask."),
        ("<think>We ask.</think>", "<think>We ask.</think>"),
        ("We ask. <think>Hm.</think> We go.", "We ask. <think>Hm.</think> We go."),
        ("<think>A</think><think>B</think>We.", "<think>A</think><think>B</think>We."),
    ],
    ids=["before", "opened by the template", "nothing else", "within", "two"],
)
def test_read_reply_drops_the_think_block_of_the_teacher_only(reply: str, text: str) -> None:
    assert read(reply).text == text


@pytest.mark.parametrize(
    ("text", "plain", "found"),
    [
        ("## Plan", "Plan", {"heading": 1}),
        ("- a\n* b\n+ c\n• d\n1. e\n12) f", "a\nb\nc\nd\ne\nf", {"list": 6}),
        ("**We** read __it__, *twice*, _here_.", "We read it, twice, here.", {"bold": 2, "italic": 2}),
        ("***We***", "We", {"bold": 1, "italic": 1}),
        ("> It says\n> so.", "It says\nso.", {"quotation": 2}),
        ("The `title` stands.", "The title stands.", {"code": 1}),
        ("We.\n\n---\n\nGo.", "We.\n\n\n\nGo.", {"rule": 1}),
        ("1950. So it is.\n2 * 3 * 4, snake_case_name, M*A*S*H, 5 > 4", None, {}),
        ("He sings ``so ''and ``so''. A #1 hit, *NSYNC, 3.14.", None, {}),
        ("```\ncode\n```\n| a | b |\n\\boxed{x}", None, {}),
        ("Anna – a singer - sings. - No.", None, {}),
    ],
)
def test_strip_markdown_takes_plain_marks_only(text: str, plain: str | None, found: dict[str, int]) -> None:
    assert strip_markdown(text) == (text if plain is None else plain, found)


@given(st.lists(st.sampled_from(["We", "read", "**it**", "*so*", "`x`", "\n- a", "\n## b", "\n\n", "5 * 6", "_c_"])))
def test_strip_markdown_loses_no_word_and_is_done_at_once(parts: list[str]) -> None:
    plain, _ = strip_markdown(" ".join(parts))
    assert re.findall(r"\w+", plain.replace("_", " ")) == re.findall(r"\w+", " ".join(parts).replace("_", " "))
    assert strip_markdown(plain)[0] == plain


def test_read_reply_of_other_kinds_looks_for_no_phases() -> None:
    found = read_reply("Plan: A.\n\nB.\n\nC.\n\nD.", has_phases=False)
    assert (found.text, found.phases) == ("Plan: A.\n\nB.\n\nC.\n\nD.", ())


def test_the_prompt_asks_for_the_labels_that_are_read() -> None:
    text = prompts.text("monologue")
    _, parts = split_labels(text.partition("The order is fixed")[0])
    assert tuple(phase for phase, _ in parts) == PHASES
    assert not has_other_labels("\n\n".join(words for _, words in parts))


def test_traces_of_a_real_teacher_pass(shared_data: Path) -> None:
    rows = read_jsonl(shared_data / "real_teacher_traces_24.jsonl")
    files = ("musique_ans_dev_100.jsonl", "hotpot_dev_distractor_100.json")
    questions = {
        question.question_id: question
        for name in files
        for question in read_questions(Questions(path=str(shared_data / name)), 0)
    }
    reasons = []
    for row in rows:
        found = read(row["text"])
        assert tuple(span.phase for span in found.phases) == PHASES
        reasons.append(rejection(found.text, "stop", questions[row["question_id"]], Rules(), found.phases))
    # measured: none is rejected
    assert reasons.count(None) >= 23, reasons
