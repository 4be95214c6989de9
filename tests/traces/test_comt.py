"""Plans: what is taken off a reply, what the gate rejects, and how a plan is carried out."""

import dataclasses
from pathlib import Path

import pytest

from mbt_lite.data.questions import read_questions
from mbt_lite.recipe.schema import Gen, Questions
from mbt_lite.records import Document, Question, Trace
from mbt_lite.scripted.plan import write_plan
from mbt_lite.text.names import plain_title
from mbt_lite.traces.build import build_trace
from mbt_lite.traces.checks import Rules
from mbt_lite.traces.comt import plain_plan, plan_faults, plan_rejection
from mbt_lite.traces.executed import carry_out, with_executed
from mbt_lite.traces.kinds.comt import KIND

ROOT = Path(__file__).parents[2]
RULES = Rules()
QUESTION = Question(
    "q", "Where was the mayor of Orr born?", "Kell", ("Kell-on-Sea",),
    (Document("Orr", "Orr is led by Ann Poe.", True), Document("Ann Poe", "Ann Poe was born in Kell.", True),
     Document("Sule", "Sule is led by Ben Ray, who was born in Orr.", False), Document("Gray Wren", "A boat.", False)),
    "mbt", bridges=("Ann Poe",), ask_for="steps",
)  # fmt: skip
PLAN = "Step 1: the mayor of Orr -> A\nStep 2: where A was born -> answer"


def reject(plan: str, question: Question = QUESTION) -> str | None:
    return plan_rejection(plan, "stop", question, RULES)


@pytest.mark.parametrize(
    "reply",
    [
        "Plan:\nStep 1: the mayor of Orr -> A\nStep 2: where A was born -> answer.",
        "Here is my plan:\n\n1) the mayor of Orr → A\n\n2) where A was born → Answer",
        "the mayor of Orr => [A]\nwhere A was born => the final answer",
        'step 1. the mayor of Orr->(A)\nSTEP 2 - where A was born->"answer"',
    ],
    ids=["heading", "numbers and arrows", "list marks that are gone", "spacing and brackets"],
)
def test_plain_plan_takes_signs_off(reply: str) -> None:
    assert plain_plan(reply) == PLAN


@pytest.mark.parametrize("reply", ["First the mayor, then the town.", f"{PLAN}\nSo it is done.", "a -> b -> C", ""])
def test_plain_plan_leaves_other_lines_to_the_gate(reply: str) -> None:
    assert plain_plan(reply) == reply


def test_a_plan_passes_and_its_beginning_does_not() -> None:
    assert reject(PLAN) is None
    assert reject(PLAN.partition("\n")[0]) == "not steps"
    assert plan_rejection(PLAN, "length", QUESTION, RULES) == "truncated"
    assert plan_rejection("", "stop", QUESTION, RULES) == "empty"


CASES = {
    "a value": ("Step 1: the mayor of Orr -> Ann Poe\nStep 2: where Ann Poe was born -> answer", "not steps"),
    "a letter before its step": ("Step 1: the mayor of B -> A\nStep 2: where A was born -> answer", "not steps"),
    "a letter that nothing uses": ("Step 1: Orr -> A\nStep 2: where the mayor was born -> answer", "not steps"),
    "a letter set twice": ("Step 1: Orr -> A\nStep 2: mayor of A -> A\nStep 3: town of A -> answer", "not steps"),
    "two answers": ("Step 1: the mayor of Orr -> answer\nStep 2: where A was born -> answer", "not steps"),
    "numbers with a gap": (PLAN.replace("Step 2", "Step 3"), "not steps"),
    "a stated confidence": (PLAN.replace("-> A", "-> A [90]"), "not steps"),
    "of no question": ("Step 1: the first thing -> A\nStep 2: what comes of A -> answer", "not steps"),
    "a number": (PLAN.replace("mayor", "mayor of 1990"), "holds a number"),
    "an equation": (PLAN.replace("A was born", "A = mayor was born"), "holds a number"),
    "the gold": (PLAN.replace("where A was born", "A was born in kell"), "reaches the gold"),
    "an alias of the gold": (PLAN.replace("where", "of Kell-on-Sea, where"), "reaches the gold"),
    "a bridge": (PLAN.replace("the mayor", "ann poe, mayor"), "names a fact"),
    "half a name": (PLAN.replace("the mayor", "Poe, mayor"), "names a fact"),
    "a name that opens its line": (PLAN.replace("the mayor of Orr", "Ben, mayor of Orr"), "names a fact"),
    "a title in small letters": (PLAN.replace("the mayor", "not the gray wren, the mayor"), "names a fact"),
    "a name of nowhere": (PLAN.replace("the mayor of", "the mayor Zoltan of"), "names a fact"),
    "a tag": (PLAN.replace("the mayor", "<answer> the mayor"), "holds tags"),
    "markdown": (PLAN.replace("the mayor", "the **mayor"), "markdown"),
    "what was given": (PLAN.replace("where", "the correct answer, where"), "reveals that the answer was given"),
}


@pytest.mark.parametrize("case", CASES)
def test_plan_faults_name_what_a_plan_gives_away(case: str) -> None:
    plan, reason = CASES[case]
    assert reason in list(plan_faults(plan, "stop", QUESTION, RULES))


def test_letters_of_the_questions_names_are_none() -> None:
    asked = dataclasses.replace(QUESTION, question="Who taught the writer of A Tale of Karl X to the Vitamin C club?")
    plan = "Step 1: the writer of A Tale of Karl X -> A\nStep 2: who taught A in the Vitamin C club -> answer"
    assert reject(plan, asked) is None


@pytest.mark.parametrize("name", ["W. H. Orr House", "Sonata in C minor", "Gray Wren II", "Orr MP4/11"])
def test_what_the_question_names_may_be_named(name: str) -> None:
    asked = dataclasses.replace(QUESTION, question=f"Where was the maker of the {name} born?")
    assert reject(f"Step 1: the maker of the {name} -> A\nStep 2: where 'A' was born -> answer", asked) is None


OLDER, BOTH = "Which of the poets is older, Ann Poe or Ben Ray?", "Are Ann Poe and Ben Ray both poets?"


@pytest.mark.parametrize(
    ("question", "gold", "said", "reason"),
    [
        (OLDER, "Ann Poe", "the older by A and B, which is Ann Poe", "reaches the gold"),
        (OLDER, "Ann Poe", "the older of Ann Poe (A) and Ben Ray (B)", None),
        ("Were Ann Poe and Ben Ray poets or singers?", "singers", "whether A and B tell of poets or singers", None),
        (BOTH, "no", "no, since A and B differ", "reaches the gold"),
        (BOTH, "no", "A and B are no poets, yes or no", None),
    ],
)
def test_the_last_step_does_not_choose(question: str, gold: str, said: str, reason: str | None) -> None:
    asked = dataclasses.replace(QUESTION, question=question, answer=gold, aliases=(), bridges=())
    sides = "Step 1: the poets before Ann Poe -> A\nStep 2: the poets before Ben Ray -> B"
    assert reject(f"{sides}\nStep 3: {said} -> answer", asked) == reason


def test_a_plan_is_carried_out_with_the_bridges() -> None:
    assert carry_out(PLAN, QUESTION) == [
        "Step 1: the mayor of Orr -> Ann Poe",
        "Step 2: where Ann Poe was born -> Kell",
    ]


def test_an_article_stays_one_when_a_plan_is_carried_out() -> None:
    plan = PLAN.replace("the mayor", "A mayor")
    assert reject(plan) is None
    assert carry_out(plan, QUESTION)[0] == "Step 1: A mayor of Orr -> Ann Poe"


def test_a_plan_is_not_carried_out_by_guessing() -> None:
    longer = "Step 1: Orr -> A\nStep 2: the mayor of A -> B\nStep 3: where B was born -> answer"
    assert carry_out(longer, QUESTION) == "other steps than bridges"
    assert carry_out(PLAN, dataclasses.replace(QUESTION, bridges=())) == "no bridges"
    assert carry_out(PLAN, dataclasses.replace(QUESTION, documents=())) == "no documents to hold the bridges against"
    wrong = dataclasses.replace(QUESTION, bridges=("Mo Day",))
    assert carry_out(PLAN, wrong) == "the documents bear out no order"


def test_values_go_where_the_documents_bear_them_out_in_whatever_order_the_sides_stand() -> None:
    [asked] = [
        one for one in sample("multihop_train", 30) if one.question.startswith("Who was born later, the author")
    ][:1]
    plan = write_plan(asked.question)
    lines = carry_out(plan, asked)
    assert lines == carry_out(plan, dataclasses.replace(asked, bridges=asked.bridges[::-1]))
    assert isinstance(lines, list)
    assert [line.rpartition(" -> ")[2] for line in lines][-1] == asked.answer


def sample(name: str, limit: int) -> list[Question]:
    return read_questions(Questions(path=str(ROOT / f"data_samples/{name}.jsonl"), ask_for="steps"), 0)[:limit]


@pytest.mark.parametrize("name", ["demo_train", "multihop_train"])
def test_every_scripted_plan_passes_and_can_be_carried_out(name: str) -> None:
    for question in sample(name, 120):
        plan = write_plan(question.question)
        assert list(plan_faults(plan, "stop", question, RULES)) == [], plan
        lines = carry_out(plan, question)
        assert isinstance(lines, list), (plan, lines)
        assert all(any(bridge in line for line in lines) for bridge in question.bridges)
        assert lines[-1].endswith(f"-> {question.answer}")


def plans(questions: list[Question]) -> list[Trace]:
    return [
        build_trace(
            one, KIND, write_plan(one.question), rollout_index=None, trace_index=index, teacher="t", scripted=True
        )
        for one in questions
        for index in range(2)
    ]


def test_a_share_of_the_questions_has_one_executed_row_behind_its_plan() -> None:
    questions = sample("demo_train", 20)
    rows = with_executed(KIND, plans(questions), questions, Gen(kind="comt", executed_share=0.25), RULES)
    assert (rows.executed, len(rows.traces), dict(rows.without)) == (5, 45, {})
    assert len({row.trace_id for row in rows.traces}) == 45
    for before, row in zip(rows.traces, rows.traces[1:], strict=False):
        if row.kind == "comt_executed":
            assert row.row_rule == "closed"
            assert before.question_id == row.question_id
            assert row.completion[0]["content"].startswith(before.completion[0]["content"])
            assert row.completion[0]["content"].endswith(f"</think>\n\n<answer>{row.answer}</answer>")
        else:
            assert row.row_rule == "open"


def test_the_control_has_executed_rows_alone_and_what_cannot_be_executed_is_counted() -> None:
    questions = sample("demo_train", 20)
    questions[3] = dataclasses.replace(questions[3], bridges=())
    gen = Gen(kind="comt", executed_share=1.0, plan_rows=False)
    rows = with_executed(KIND, plans(questions), questions, gen, RULES)
    assert {row.kind for row in rows.traces} == {"comt_executed"}
    assert (len(rows.traces), rows.without) == (19, {"no bridges": 1})


def test_an_executed_row_keeps_to_the_length_and_holds_no_control_tokens() -> None:
    questions = sample("demo_train", 4)
    gen = Gen(kind="comt", executed_share=1.0)
    short = dataclasses.replace(RULES, max_tokens=30, count_tokens=lambda question, trace, answer: len(trace.split()))
    assert with_executed(KIND, plans(questions), questions, gen, short).without == {"too long for training": 4}
    marked = dataclasses.replace(RULES, controls=lambda text: ["x"])
    assert with_executed(KIND, plans(questions), questions, gen, marked).without == {"holds tags": 4}


@pytest.mark.parametrize("name", ["musique_ans_train_100.jsonl", "hotpot_train_100.json", "2wikimultihop_dev_150.json"])
def test_plans_of_real_questions_are_carried_out_with_their_bridges_alone(shared_data: Path, name: str) -> None:
    questions = read_questions(Questions(path=str(shared_data / name), ask_for="steps"), 0)
    plans = {one.question_id: write_plan(one.question) for one in questions}
    kept = [one for one in questions if reject(plans[one.question_id], one) is None]
    assert len(kept) / len(questions) >= 0.95
    done = [(one, lines) for one in kept if isinstance(lines := carry_out(plans[one.question_id], one), list)]
    assert len(done) / len(questions) >= 0.3
    for question, lines in done:
        values = [line.rpartition(" -> ")[2] for line in lines]
        titles = {plain_title(bridge) for bridge in question.bridges}
        assert values[-1] == question.answer
        assert set(values[:-1]) <= {*question.bridges, *titles, question.answer}
