"""The monologue's rules; its wording is a list to choose from, and a test asks which list a sentence is from."""

import random
import re
from collections.abc import Sequence

import pytest

from mbt_lite.metrics.traces import answer_hit
from mbt_lite.scripted import wording
from mbt_lite.scripted.evidence import Search
from mbt_lite.scripted.monologue import Monologue, quote, read_claim
from mbt_lite.text.phases import PHASES
from mbt_lite.traces.phase_labels import join_phases, split_labels

Documents = Sequence[tuple[str, str]]

DOCUMENTS = (
    ("Silent Garden", "Silent Garden was directed by Nora Vale."),
    ("Otto Quill", "Otto Quill was born in Oakham."),
    ("Nora Vale", "Nora Vale was born in Millbrook."),
    ("Golden River", "Golden River was directed by Otto Quill."),
)
QUESTION = "Where was the director of Silent Garden born?"
FILMS = (("Blue Fox", "Blue Fox came out in 1950."), ("Far Hill", "Far Hill came out in 1920."), DOCUMENTS[1])
WHICH = "Which film came out earlier, Blue Fox or Far Hill?"
SEEDS = range(8)
RIGHT = ("<answer>Millbrook</answer>", "<answer>the town of Millbrook.</answer>", "So: Millbrook.")
WRONG = "<think>x</think><answer>Oakham</answer>"


def write(
    draft: str | None = None,
    *,
    documents: Documents = DOCUMENTS,
    question: str = QUESTION,
    gold: str = "Millbrook",
    seed: int = 0,
) -> list[str]:
    """Write a monologue; give its paragraphs."""
    search = Search(documents, question, gold)
    written = Monologue(search, search.run(), gold, draft, random.Random(seed)).write()
    text, phases = join_phases(split_labels(written)[1])
    assert tuple(span.phase for span in phases) == PHASES
    return text.split("\n\n")


def compare(draft: str | None = None, *, seed: int = 0) -> list[str]:
    return write(draft, documents=FILMS, question=WHICH, gold="Far Hill", seed=seed)


def is_from(variants: Sequence[str], text: str, **slots: str) -> bool:
    """Tell whether a text is one of the variants; slots that are not given may hold anything."""
    for variant in variants:
        pattern = re.escape(variant)
        for name in re.findall(r"\{(\w+)\}", variant):
            value = re.escape(slots[name]) if name in slots else ".+"
            pattern = pattern.replace(re.escape(f"{{{name}}}"), value)
        if re.fullmatch(pattern, text):
            return True
    return False


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("draft", [None, WRONG, RIGHT[0], "Hm."], ids=["none", "wrong", "right", "empty"])
def test_write_shows_five_phases_in_order_and_ends_with_the_gold(draft: str | None, seed: int) -> None:
    for paragraphs, gold in ((write(draft, seed=seed), "Millbrook"), (compare(draft, seed=seed), "Far Hill")):
        assert len(paragraphs) == len(PHASES)
        assert paragraphs[-1].rstrip(".").endswith(gold)
        assert answer_hit("\n\n".join(paragraphs), [gold]) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_write_quotes_every_fact_with_its_document(seed: int) -> None:
    steps = write(seed=seed)[2]
    first, second = (
        steps.index("Silent Garden was directed by Nora Vale"),
        steps.index("Nora Vale was born in Millbrook"),
    )
    assert first < second
    assert steps.index("Document 1") < second
    assert steps.rindex("Document 3") > first


def test_write_names_no_wrong_value_without_a_draft() -> None:
    assert all("Oakham" not in "\n\n".join(write(seed=seed)) for seed in range(20))


def test_write_names_the_gold_only_where_the_evidence_yields_it() -> None:
    assert all("Millbrook" not in " ".join(write(WRONG, seed=seed)[:2]) for seed in range(20))


@pytest.mark.parametrize(
    ("claim", "variants"),
    [
        ("Oakham", wording.WRONG_ELSEWHERE),
        ("Nora Vale", wording.WRONG_LINK),
        ("Silent Garden", wording.WRONG_ECHO),
        ("Golden River", wording.WRONG_TITLE),
        ("Ada Thorne", wording.WRONG_NOWHERE),
    ],
    ids=["other document", "a link", "echo", "other title", "nowhere"],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_correct_names_the_drafts_wrong_answer_and_its_cause(claim: str, variants: tuple[str, ...], seed: int) -> None:
    paragraphs = write(f"<think>Hm.</think><answer>{claim}</answer>", seed=seed)
    assert is_from(variants, paragraphs[3], wrong=claim)
    assert "Millbrook" in paragraphs[4]


@pytest.mark.parametrize("seed", SEEDS)
def test_correct_says_where_a_wrong_answer_was_from(seed: int) -> None:
    told = write(WRONG, seed=seed)[3]
    assert "Document 2" in told
    assert "Otto Quill" in told


@pytest.mark.parametrize("seed", SEEDS)
def test_correct_of_a_comparison_weighs_the_rival(seed: int) -> None:
    assert is_from(wording.WRONG_RIVAL, compare("<answer>Blue Fox</answer>", seed=seed)[3], wrong="Blue Fox")


def test_correct_reads_a_claim_from_a_draft_without_tags() -> None:
    assert is_from(wording.WRONG_ELSEWHERE, write("The director came from Oakham.")[3], wrong="Oakham")


@pytest.mark.parametrize("draft", ["I do not know.", "", "<answer></answer>"])
def test_correct_of_a_draft_without_a_claim_names_none(draft: str) -> None:
    assert is_from(wording.WRONG_UNNAMED, write(draft)[3], number="3")


@pytest.mark.parametrize("draft", RIGHT)
@pytest.mark.parametrize("seed", SEEDS)
def test_write_treats_a_right_draft_like_none(draft: str, seed: int) -> None:
    assert write(draft, seed=seed) == write(seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_execute_of_a_comparison_orders_the_years(seed: int) -> None:
    steps = compare(seed=seed)[2]
    assert any(variant.format(low="1920", high="1950") in steps for variant in wording.ORDER)


def test_execute_of_equal_years_orders_nothing() -> None:
    films = (("Blue Fox", "Blue Fox came out in 1950."), ("Far Hill", "Far Hill came out in 1950."))
    steps = write(documents=films, question=WHICH, gold="Far Hill")[2]
    assert not any(variant.format(low="1950", high="1950") in steps for variant in wording.ORDER)


@pytest.mark.parametrize("seed", SEEDS)
def test_understand_sets_aside_only_a_document_that_no_step_needs(seed: int) -> None:
    understood = write(seed=seed)[0]
    assert any(title in understood for title in ("Otto Quill", "Golden River"))
    assert "Nora Vale" not in understood
    assert is_from(wording.NOTHING_ASIDE, write(documents=DOCUMENTS[:1], gold="Nora Vale")[0].split(". ", 1)[1])


def test_plan_names_the_sub_questions_of_a_nested_question() -> None:
    documents = (("Acme", "Acme was founded by Nora Vale."), ("Window", "Window was produced by Acme."), DOCUMENTS[2])
    plan = write(documents=documents, question="Where was the founder of the producer of Window born?")[1]
    assert "the producer of Window" in plan
    assert "founder" in plan


@pytest.mark.parametrize(
    ("documents", "gold"),
    [(DOCUMENTS, "Atlantis"), (DOCUMENTS[:1], "Nora Vale"), ((), "Nora Vale"), (DOCUMENTS, "yes")],
    ids=["gold nowhere", "one document", "no documents", "yes"],
)
@pytest.mark.parametrize("draft", [None, WRONG])
def test_write_stays_whole_on_odd_input(documents: Documents, gold: str, draft: str | None) -> None:
    paragraphs = write(draft, documents=documents, gold=gold)
    assert len(paragraphs) == len(PHASES)
    assert paragraphs[-1].endswith(f"{gold}.")


@pytest.mark.parametrize("word", ["draft", "guide", "given", "gold", "correct answer"])
def test_write_never_speaks_of_what_it_was_shown(word: str) -> None:
    texts = [" ".join(write(draft, seed=seed)) for seed in range(10) for draft in (None, WRONG, "Hm.")]
    assert not [text for text in texts if word in text]


def test_quote_keeps_the_keys_and_no_dangling_end() -> None:
    text = "In the far north of the old country Nora Vale was born in Millbrook and then left for the"
    assert quote(text, ["millbrook"], 6) == "Nora Vale was born in Millbrook"
    assert quote("The town is old.", []) == "the town is old"


@pytest.mark.parametrize(
    ("draft", "claim"),
    [
        ("<think>a</think><answer> Oakham. </answer>", "Oakham"),
        ("Nora. I think it is Oakham.", "Oakham"),
        ("It is about Silent Garden.", None),
        ("<answer>one two three four five six seven</answer>", None),
        ("<answer></answer>", None),
        ("", None),
    ],
    ids=["tag", "last sentence", "only the question's names", "too long", "empty tag", "nothing"],
)
def test_read_claim_reads_the_tag_or_the_last_sentence(draft: str, claim: str | None) -> None:
    assert read_claim(draft, QUESTION) == claim
