"""The quality gate, reason by reason, on texts written by hand."""

import dataclasses
from typing import Any, get_args

import pytest

from mbt_lite import prompts
from mbt_lite.recipe.schema import TraceKind
from mbt_lite.records import Completion, Document, Question
from mbt_lite.traces import checks
from mbt_lite.traces.checks import Rules
from mbt_lite.traces.kinds import kind_named
from mbt_lite.traces.reply import read_reply

# what a text of any kind must keep to
ANY = Rules(min_phases=0, says_we=False, prompt_names=())


def rejection(text: str, finish_reason: str, question: Question, rules: Rules = ANY) -> str | None:
    return checks.rejection(text, finish_reason, question, rules)


GOOD = """The question asks who runs the mill. We set aside the lake.

First we need the mill's document.

Document 1 says that the mill is run by Nora Vale. This follows.

Wait, is it Otto Quill? No, he is on the lake.

To verify: she fits the question. So the answer is Nora Vale."""


def ask(answer: str = "Nora Vale", text: str = "The mill is run by Nora Vale.", question: str = "Who?") -> Question:
    return Question("q1", question, answer, (), (Document("Mill", text, True),), "mbt")


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "Nora Vale",
        "So: NORA VALE!\n\n",
        "We read.\n\nIt is 5 < 6, and a-b * c, so Nora Vale.",
        "He died in\n1950. So the answer is Nora Vale.",
        "We think, and answer: Nora Vale.",
        "The #1 hit of Nora Vale.",
        "It says ``Nora ''and ``Vale'': Nora Vale.",
        "We read snake_case_names, 2 * 3 * 4 and a|b. Nora Vale.",
    ],
    ids=[
        "five phases",
        "the gold alone",
        "case and signs",
        "odd signs",
        "a year opens a line",
        "plain word",
        "hash",
        "two backticks",
        "signs within words",
    ],
)
def test_rejection_lets_a_good_text_pass(text: str) -> None:
    assert rejection(text, "stop", ask()) is None


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [
        ("refused", "refused"),
        ("length", "truncated"),
        ("content_filter", "finish reason content_filter"),
        ("tool_calls", "finish reason tool_calls"),
    ],
)
def test_rejection_names_how_a_reply_ended(finish_reason: str, reason: str) -> None:
    assert rejection(GOOD, finish_reason, ask()) == reason


@pytest.mark.parametrize("text", ["", " ", "\n\n\t"])
def test_rejection_of_an_empty_text(text: str) -> None:
    assert rejection(text, "stop", ask()) == "empty"


@pytest.mark.parametrize(
    "tag",
    [
        "<think>",
        "</think>",
        "<think >",
        "</THINK>",
        "[THINK]",
        "◁think▷",
        "<answer>",
        "</Answer>",
        "<answer >",
        "<|im_end|>",
    ],
)
@pytest.mark.parametrize("place", ["{tag} {good}", "{good} {tag}"])
def test_rejection_of_tags(tag: str, place: str) -> None:
    reason = "nested think" if "think" in tag.lower() else "holds tags"
    assert rejection(place.format(tag=tag, good=GOOD), "stop", ask()) == reason


@pytest.mark.parametrize(
    "mark",
    [
        "# Plan",
        "### Plan",
        "- we read",
        "* we read",
        "+ we read",
        "• we read",
        "1. We read",
        "12) We read",
        "```",
        "**We**",
        "*We*",
        "_We read_",
        "`We`",
        "| a | b |",
        "\\boxed{x}",
    ],
)
@pytest.mark.parametrize("place", ["{mark}\n{good}", "We.\n\n  {mark}\n{good}"], ids=["first", "later"])
def test_rejection_of_markdown(mark: str, place: str) -> None:
    assert rejection(place.format(mark=mark, good=GOOD), "stop", ask()) == "markdown"


@pytest.mark.parametrize(
    "phrase",
    [
        "By the given answer we know.",
        "This is the provided answer.",
        "It fits the correct answer.",
        "The Gold Answer is known.",
        "As the reference answer says.",
        "The solution guide says so.",
        "By the guide we know.",
        "The answer is given already.",
        "The answer was provided.",
    ],
)
def test_rejection_of_what_only_the_writer_was_shown(phrase: str) -> None:
    assert rejection(f"{phrase} {GOOD}", "stop", ask()) == "reveals that the answer was given"


@pytest.mark.parametrize(
    "question",
    [ask(text="He entered the 2004 draft; Nora Vale runs the mill."), ask(question="Who was first in the draft?")],
    ids=["document", "question"],
)
def test_rejection_leaves_the_documents_their_words(question: Question) -> None:
    text = f"Document 1 speaks of the draft. {GOOD}"
    assert rejection(text, "stop", question) is None
    assert rejection(f"{text} By the guide.", "stop", question) == "reveals that the answer was given"
    assert rejection(text, "stop", ask()) == "reveals a draft"


@pytest.mark.parametrize(
    "phrase",
    ["The draft says so.", "Our original draft was wrong.", "The student guessed.", "A previous attempt failed."],
)
def test_rejection_of_a_draft_that_is_named(phrase: str) -> None:
    assert rejection(f"{phrase} {GOOD}", "stop", ask()) == "reveals a draft"


@pytest.mark.parametrize("phrase", ["So the correct answer is hers.", "Which is the correct answer?", "We start anew."])
def test_rejection_leaves_a_thinker_its_words(phrase: str) -> None:
    assert rejection(f"{phrase} {GOOD}", "stop", ask()) is None


@pytest.mark.parametrize(
    "text",
    [
        "We read, but find nothing.",
        "So the answer is Nora.",
        "So the answer is Eleonora Valerie.",
        "It is not Nora Vale, it is Otto Quill.",
        "Nora Vale would do, but the answer is Otto Quill.",
        "Document 1 says that it is Nora Vale.\n\nHold on, we check. So the answer is Otto Quill.",
    ],
    ids=["nothing", "half of it", "within words", "dropped", "another answer", "found and lost"],
)
def test_rejection_of_a_text_that_does_not_end_with_the_gold(text: str) -> None:
    assert rejection(text, "stop", ask()) == "does not reach the gold"


@pytest.mark.parametrize("answer", ["yes", "No", "no."])
def test_rejection_does_not_search_for_yes_and_no(answer: str) -> None:
    assert rejection("Both are in Ohio, so they are alike.", "stop", ask(answer)) is None


def test_rejection_of_the_opposite_of_yes_or_no() -> None:
    assert rejection("Both are in Ohio. So yes.", "stop", ask("no")) == "does not reach the gold"
    assert rejection("Both are in Ohio. So the answer is yes.", "stop", ask("Yes")) is None


@pytest.mark.parametrize(
    ("answer", "text", "reason"),
    [
        ("The The", "So the band is The The.", None),
        ("The The", "So the band is Blur.", "does not reach the gold"),
        ("???", "So the title is ???.", None),
        ("A", "So the mark is A.", None),
        ("16,801", "So there were 16801.", None),
        ("The U.S. Navy", "So it is US navy.", None),
    ],
    ids=["only articles", "only articles, missed", "only signs", "one article", "number", "articles and dots"],
)
def test_rejection_finds_odd_golds(answer: str, text: str, reason: str | None) -> None:
    assert rejection(text, "stop", ask(answer)) == reason


@pytest.mark.parametrize(
    ("answer", "text", "reason"),
    [
        ("2.5", "So the answer is 25.", "does not reach the gold"),
        ("-7", "So the answer is 7.", "does not reach the gold"),
        ("1800", "We have 1800. So the answer is $18.00.", "does not reach the gold"),
        ("1800", "So it is 18, not 1800.", "does not reach the gold"),
        ("12.50", "So the answer is $12.5.", None),
        ("1,800", "So we have 1800 clips in all.", None),
    ],
)
def test_rejection_compares_numbers_by_value(answer: str, text: str, reason: str | None) -> None:
    assert rejection(text, "stop", dataclasses.replace(ask(answer), answer_rule="number")) == reason


def test_rejection_gives_the_first_reason_of_many() -> None:
    text = "# Plan\n<think> By the guide."
    assert rejection(text, "length", ask()) == "truncated"
    assert rejection(text, "stop", ask()) == "nested think"
    assert rejection(text.replace("<think>", ""), "stop", ask()) == "markdown"
    assert rejection("By the guide.", "stop", ask()) == "reveals that the answer was given"


def test_faults_gives_every_reason() -> None:
    text = "# Plan\n<think> By the guide, I think of my draft."
    assert list(checks.faults(text, "stop", ask(), Rules())) == [
        "nested think",
        "markdown",
        "reveals that the answer was given",
        "wrong person",
        "holds labels",
        "fewer phases than asked",
        "does not reach the gold",
    ]
    assert list(checks.faults(text, "length", ask(), Rules())) == ["truncated"]


@pytest.mark.parametrize(("asked", "reason"), [(0, None), (2, None), (3, "fewer phases than asked")])
def test_rejection_counts_the_phases_that_were_labelled(asked: int, reason: str | None) -> None:
    read = read_reply("[plan]\nWe need the mill.\n\n[verify]\nSo it is Nora Vale.", has_phases=True)
    rules = Rules(min_phases=asked)
    assert checks.rejection(read.text, "stop", ask(), rules, read.phases) == reason


@pytest.mark.parametrize(("paragraphs", "reason"), [(3, "fewer phases than asked"), (4, None), (5, None), (7, None)])
def test_rejection_takes_paragraphs_without_labels_by_their_order(paragraphs: int, reason: str | None) -> None:
    text = "\n\n".join([*(f"We take step {number}." for number in range(paragraphs - 1)), "So it is Nora Vale."])
    assert rejection(text, "stop", ask(), Rules(min_phases=4)) == reason


def test_rejection_of_phases_out_of_order() -> None:
    reply = "[understand]\nA.\n[execute]\nB.\n[plan]\nC.\n[correct]\nD.\n[verify]\nSo it is Nora Vale."
    read = read_reply(reply, has_phases=True)
    assert checks.rejection(read.text, "stop", ask(), Rules(says_we=False), read.phases) == "phases out of order"
    assert checks.rejection(read.text, "stop", ask(), ANY, read.phases) is None


@pytest.mark.parametrize("label", ["[conclusion]", "[Final answer]", "Step 1: Plan", "Planning"])
def test_rejection_of_labels_that_name_no_phase_or_a_single_one(label: str) -> None:
    assert rejection(f"{label}\n{GOOD}", "stop", ask()) == "holds labels"
    assert rejection(f"[1]\n{GOOD}", "stop", ask()) is None


def test_rejection_lets_the_good_text_pass_by_the_rules_of_five_phases() -> None:
    assert checks.rejection(GOOD, "stop", ask()) is None


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("We read, and we see.", 0.0),
        ("I read, and I'm sure.", 1.0),
        ("I read. We see. We go. Let us end. Our plan holds.", 0.2),
        ("Let me see my notes myself, we say.", 0.75),
        ("World War I was long. Elizabeth I reigned. We go.", 0.0),
        ("At the mill I read. We go.", 0.5),
        ('Document 1 says "I am old" and “I was young”. We go.', 0.0),
        ("Document 1 is on I, Robot. In the US they say no. We go.", 0.0),
        ("Nobody thinks here.", 0.0),
    ],
    ids=["we", "I", "one of five", "me and my", "names", "I after a small word", "quoted", "title and US", "none"],
)
def test_singular_share_counts_who_thinks(text: str, share: float) -> None:
    shown = "World War I ended. Elizabeth I was a queen. I, Robot is a book."
    assert checks.singular_share(text, ask(text=shown)) == pytest.approx(share)


def test_rejection_of_a_thinker_who_says_i_depends_on_the_rules() -> None:
    text = "I read. I see. So we say Nora Vale."
    assert rejection(text, "stop", ask()) is None
    assert rejection(text, "stop", ask(), Rules(min_phases=0)) == "wrong person"


def test_copies_finds_a_run_of_the_instructions() -> None:
    line = next(line for line in prompts.text("monologue").splitlines() if line.startswith("- The thinker"))
    run = line.split()[1:]
    assert checks.copies(f"We note: {' '.join(run[:12])} and go on.", ("monologue",))
    assert not checks.copies(f"We note: {' '.join(run[:6])} and go on.", ("monologue",))
    assert not checks.copies(f"We note: {' '.join(run[:12])} and go on.", ("solution",))
    assert not checks.copies("", ("monologue",))


def test_rejection_of_loops() -> None:
    loop = "We look again at the mill and find the same. " * 3
    assert rejection(f"{loop}So it is Nora Vale.", "stop", ask()) == "repeats itself"


def test_rejection_of_a_short_sentence_that_loops_in_a_long_text() -> None:
    assert rejection(f"{'So we think. ' * 3}{GOOD}", "stop", ask()) is None
    assert rejection(f"{'So we think. ' * 4}{GOOD}", "stop", ask()) == "repeats itself"


def test_rejection_of_what_is_too_long_counts_the_whole_row() -> None:
    rules = Rules(0, False, (), 10, lambda question, text, answer: len(f"{question.question} {text} {answer}".split()))
    assert rejection("one two three four five Nora Vale", "stop", ask(), rules) is None
    assert rejection("one two three four five six Nora Vale", "stop", ask(), rules) == "too long for training"


@pytest.mark.parametrize(
    ("text", "finish_reason", "reason"),
    [
        ("<think>Hm.</think><answer>nora vale</answer>", "stop", None),
        ("Hm.</think> <answer>Nora Vale</answer>", "stop", None),
        ("<think>Hm.</think><answer>Nora Vale</answer>", "length", "truncated"),
        ("<think>Hm. <answer>Nora Vale</answer>", "stop", "no answer"),
        ("<think>Hm.</think><answer>Otto</answer>", "stop", "wrong answer"),
        ("Hm. <answer>Nora Vale</answer>", "stop", "no trace"),
        ("<think> </think><answer>Nora Vale</answer>", "stop", "no trace"),
        ("<think><think>Hm.</think><answer>Nora Vale</answer>", "stop", "nested think"),
        ("<think>Hm, <answer>x.</think><answer>Nora Vale</answer>", "stop", "holds tags"),
        ("<think>I loop. I loop. **I** loop.</think><answer>Nora Vale</answer>", "stop", None),
    ],
    ids=["right", "opened by the template", "cut", "open", "wrong", "bare", "blank", "nested", "tags", "no style"],
)
def test_draft_rejection_asks_for_a_right_answer_and_a_trace(text: str, finish_reason: Any, reason: str | None) -> None:
    assert checks.draft_rejection(Completion("q1", 0, text, finish_reason, 1, 1), ask(), Rules()) == reason


def test_draft_rejection_of_a_row_that_is_too_long() -> None:
    draft = Completion("q1", 0, "<think>one two</think><answer>Nora Vale</answer>", "stop", 1, 1)
    short = Rules(max_tokens=1, count_tokens=lambda question, text, answer: len(text.split()))
    assert checks.draft_rejection(draft, ask(), short) == "too long for training"


@pytest.mark.parametrize("kind", get_args(TraceKind))
def test_rules_for_a_kind(kind: Any) -> None:
    rules = kind_named(kind).rules(3)
    five_phases = kind in ("mbt_s", "mbt_r", "direct_r")
    assert (rules.min_phases, rules.says_we) == ((3, True) if five_phases else (0, False))
    assert ("monologue" in rules.prompt_names) == five_phases


def test_a_control_token_of_the_student_is_rejected() -> None:
    rules = Rules(
        min_phases=0,
        says_we=False,
        prompt_names=(),
        controls=lambda text: [token for token in ("</s>",) if token in text],
    )
    assert rejection("We see </s> and Nora Vale.", "stop", ask(), rules) == "holds tags"
    draft = Completion("q1", 0, "<think>We see </s>.</think><answer>Nora Vale</answer>", "stop", 1, 1)
    assert checks.draft_rejection(draft, ask(), rules) == "holds tags"
    assert checks.draft_rejection(draft, ask(), ANY) is None
