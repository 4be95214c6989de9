"""The prompt texts: their slots, how they are filled, what each reader sees, and their version."""

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite import prompts
from mbt_lite.errors import DataError
from mbt_lite.records import Document, Question

QUESTION = Question(
    question_id="q1",
    question="Who  runs\nthe {{mill}}?",
    answer="Nora",
    aliases=(),
    documents=(
        Document("Mill", "The mill costs $5 {{question}} \\1.\nIt is old.", True),
        Document("Lake", "Wet.", False),
    ),
    source="mbt",
)
SLOTS: dict[str, set[str]] = {
    **{f"student{form}": {"documents", "question"} for form in ("", "_steps", "_confidence")},
    "metacognitive": set(),
    "meta": {"documents", "question"},
    "solution": {"documents", "question", "answer"},
    "mbt_s": {"monologue", "documents", "question", "answer"},
    "mbt_r": {"monologue", "question", "answer", "draft"},
    "monologue": {"words"},
    "distill_r": {"question", "answer", "draft", "words"},
    "comt": {"documents", "question", "hops"},
    **{
        f"{name}_closed": slots
        for name, slots in {
            **{f"student{form}": {"question"} for form in ("", "_steps", "_confidence")},
            "metacognitive": set[str](),
            "meta": {"question"},
            "solution": {"question", "answer"},
            "mbt_s": {"monologue", "question", "answer"},
            "mbt_r": {"monologue", "question", "answer", "draft"},
            "monologue": {"words"},
            "distill_r": {"question", "answer", "draft", "words"},
            "comt": {"question", "hops"},
        }.items()
    },
    "judge_accuracy": {"question", "answers", "given"},
    "judge_hit": {"question", "answers", "evidence", "trace"},
    "judge_overthinking": {"question", "answers", "evidence", "trace"},
    "judge_underthinking": {"question", "answers", "evidence", "trace"},
    "judge_metacognition": {"question", "trace"},
    "judge_reach": {"question", "answers", "evidence", "trace", "count"},
    "judge_quality": {"question", "tier", "evidence", "trace"},
}


@pytest.mark.parametrize("name", prompts.NAMES)
def test_render_fills_every_text(name: str) -> None:
    filled = prompts.render(name, **{slot: f"<{slot}>" for slot in SLOTS[name]})
    assert "{{" not in filled
    assert all(f"<{slot}>" in filled for slot in SLOTS[name])


def test_slots_table_covers_every_text_and_every_file() -> None:
    files = {path.stem for path in Path(prompts.__file__).parent.glob("*.txt")}
    assert set(SLOTS) == set(prompts.NAMES) == files


@pytest.mark.parametrize("name", prompts.NAMES)
def test_render_names_the_file_whose_slots_do_not_fit(name: str) -> None:
    with pytest.raises(
        DataError, match=rf"^prompts/{name}\.txt: slots do not fit .*missing \['other'\]\); the text must"
    ):
        prompts.render(name, other="x", **{slot: "x" for slot in SLOTS[name]})


@pytest.mark.parametrize(
    ("template", "slots", "message"),
    [
        ("{{a}}", {}, r"unknown \['a'\]"),
        ("{{a}}", {"a": "1", "b": "2"}, r"missing \['b'\]"),
        ("{{ a }}", {"a": "1"}, r"unknown \[' a '\], missing \['a'\]"),
        ("{{}}", {}, r"unknown \[''\]"),
    ],
    ids=["slot without value", "value without slot", "slot with spaces", "slot without name"],
)
def test_fill_refuses_slots_that_do_not_fit(template: str, slots: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prompts.fill(template, slots, "prompts/x.txt")


@given(st.text(), st.text())
def test_fill_passes_values_through_untouched(first: str, second: str) -> None:
    assert prompts.fill("<{{a}}|{{b}}>", {"a": first, "b": second}, "x") == f"<{first}|{second}>"


def test_student_messages_number_documents_one_a_line_with_braces_and_dollars() -> None:
    (message,) = prompts.student_messages(QUESTION)
    assert message["role"] == "user"
    assert message["content"].splitlines() == [
        "[1] Mill: The mill costs $5 {{question}} \\1. It is old.",
        "[2] Lake: Wet.",
        "",
        "Question: Who runs the {{mill}}?",
        "Think between <think> and </think>, then give the final answer between <answer> and </answer>.",
    ]


def test_student_messages_metacognitive_adds_a_system_prompt_only() -> None:
    system, user = prompts.student_messages(QUESTION, metacognitive=True)
    assert system["role"] == "system"
    assert [user] == prompts.student_messages(QUESTION)
    assert len(system["content"].split()) <= 140


def test_completion_text_is_think_then_answer() -> None:
    assert prompts.completion_text("We read.", "Nora") == "<think>\nWe read.\n</think>\n\n<answer>Nora</answer>"


def test_version_depends_on_the_texts_and_not_on_their_order() -> None:
    assert prompts.version("student", "mbt_s") == prompts.version("mbt_s", "student")
    assert len({prompts.version(name) for name in prompts.NAMES} | {prompts.version()}) == len(prompts.NAMES) + 1
    assert prompts.version() == prompts.version(*prompts.NAMES)
    assert all(re.fullmatch("[0-9a-f]{12}", prompts.version(name)) for name in prompts.NAMES)


def test_version_changes_iff_a_named_text_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {names: prompts.version(*names) for names in ((), ("student",), ("mbt_s", "student"), ("mbt_s", "mbt_r"))}
    texts = {name: prompts.text(name) for name in prompts.NAMES} | {"student": prompts.text("student") + "."}
    monkeypatch.setattr(prompts, "text", texts.__getitem__)
    changed = {names for names, version in before.items() if prompts.version(*names) != version}
    assert changed == {(), ("student",), ("mbt_s", "student")}


@pytest.mark.parametrize("name", ["solution", "mbt_s", "mbt_r", "distill_r"])
def test_teacher_texts_end_their_sections(name: str) -> None:
    assert prompts.text(name).endswith("\n=== end ===")


def test_only_the_student_facing_texts_are_free_of_the_gold() -> None:
    with_gold = [name for name in prompts.NAMES if "{{answer}}" in prompts.text(name)]
    teachers = ["distill_r", "mbt_r", "mbt_s", "solution"]
    assert with_gold == sorted([*teachers, *(f"{name}_closed" for name in teachers)])


@pytest.mark.parametrize("name", ["solution", "mbt_s", "mbt_r", "distill_r"])
def test_teacher_texts_open_with_a_task_line_of_their_own(name: str) -> None:
    first = prompts.text(name).partition("\n")[0]
    assert first.startswith("Task: ")
    assert [other for other in prompts.NAMES if prompts.text(other).startswith(first)] == [name, f"{name}_closed"]


@pytest.mark.parametrize("name", [name for name in prompts.NAMES if name.endswith("_closed")])
def test_closed_book_texts_speak_of_no_documents_and_keep_the_form(name: str) -> None:
    text, open_ = prompts.text(name), prompts.text(name.removesuffix("_closed"))
    assert "document" not in text.replace("there are no documents", "").lower()
    # the same labels, sections and markers in the same order
    form = re.compile(r"^(?:\[\w+\]|=== [\w ]+ ===|UNSUPPORTED|Task: .*|Key facts:|Steps:|Pitfalls:)", re.MULTILINE)
    assert form.findall(text) == [found for found in form.findall(open_) if found != "=== documents ==="]


def test_distill_r_asks_for_no_phase_and_no_thinker() -> None:
    text = prompts.text("distill_r")
    assert "phase" not in text
    assert "first person" not in text
    # the same rules of length and of the last sentence as the five-phase texts
    rules = (
        "{{words}} words",
        "UNSUPPORTED: what is",
        "The last sentence states the final answer in exactly the wording",
    )
    for rule in rules:
        assert rule in text
        assert rule in prompts.text("monologue")


def test_text_refuses_an_unknown_name() -> None:
    with pytest.raises(AssertionError, match="nothing"):
        prompts.text("nothing")


@given(st.text())
def test_one_line_has_no_line_ends_and_keeps_the_words(value: str) -> None:
    assert prompts.one_line(value).split() == value.split()
    assert len(prompts.one_line(value).splitlines()) <= 1


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_number_documents_writes_one_line_each(rows: list[tuple[str, str]]) -> None:
    lines = prompts.number_documents([Document(title, text, False) for title, text in rows]).splitlines()
    assert [line.partition(" ")[0] for line in lines] == [f"[{number}]" for number in range(1, len(rows) + 1)]


@pytest.mark.parametrize(("documents", "form"), [(QUESTION.documents, ""), ((), "_closed")], ids=["shown", "closed"])
def test_the_student_is_asked_for_what_the_question_says(documents: tuple[Document, ...], form: str) -> None:
    plain = dataclasses.replace(QUESTION, documents=documents)
    sure = dataclasses.replace(plain, ask_for="confidence")
    [asked], [plainly] = prompts.student_messages(sure), prompts.student_messages(plain)
    assert "Confidence: NN" in asked["content"]
    assert "Confidence" not in plainly["content"]
    assert prompts.named_for("student", sure) == f"student_confidence{form}"
    assert prompts.version_for(("student",), sure) != prompts.version_for(("student",), plain)
    # a student that has learned the one knows its way into the other
    assert asked["content"].partition("\nThink")[0] == plainly["content"].partition("\nThink")[0]
