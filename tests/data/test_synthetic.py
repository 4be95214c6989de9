"""The shipped synthetic files: made by the generator, solvable by reading, one answer each, no way around reading."""

import collections
import dataclasses
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mbt_lite.data.names import POOLS, YEARS
from mbt_lite.data.questions import read_questions
from mbt_lite.data.relations import BY_NAME, COMPARISONS, RELATIONS
from mbt_lite.data.synthetic import FILES, MULTIHOP, chains, generate_questions, write_samples
from mbt_lite.data.world import Dice
from mbt_lite.recipe.schema import Questions
from mbt_lite.text.normalize import normalize

SAMPLES = Path(__file__).parents[2] / "data_samples"
YEAR = r"(\d{4})"
NAME = r"([A-Z][a-z]+(?: [A-Z][a-z]+)?)"
ROLLS = [3, 4, 6, 3, 4, 4, 2, 4]
SHUFFLED = ["b", "c", "e", "a", "f", "d"]
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def shipped(file):
    return read_questions(Questions(path=str(SAMPLES / f"{file.name}.jsonl")), 0)


def facts_of(documents):
    """Read documents by the phrases alone: {(relation name, subject): object}; a second object is an error."""
    facts = {}
    for sentence in (s for document in documents for s in re.findall(r"[^.]+\.", document.text)):
        found = []
        for relation in RELATIONS:
            for phrase in relation.phrases:
                pattern = rf" ?{NAME} {phrase} {YEAR if relation.object == 'year' else NAME}\."
                if match := re.fullmatch(pattern, sentence):
                    found.append((relation.name, match[1], match[2]))
        assert len(found) == 1, (sentence, found)
        name, subject, obj = found[0]
        assert (name, subject) not in facts, sentence
        facts[name, subject] = obj
    return facts


def template(text, **slots):
    pattern = re.escape(text)
    for name, slot in slots.items():
        pattern = pattern.replace(re.escape(f"{{{name}}}"), slot)
    return pattern


def resolve(phrase, facts):
    """Follow `the employer of the director of Silent Garden` to a name."""
    if re.fullmatch(NAME, phrase):
        return phrase
    (relation, inner), *others = [
        (relation, match[1])
        for relation in RELATIONS
        if (match := re.fullmatch(template(relation.noun, subject="(.+)"), phrase))
    ]
    assert not others, phrase
    return facts[relation.name, resolve(inner, facts)]


def solve(question, facts):
    """Answer a question from facts by the relation table, independently of how it was made; every answer found."""
    answers = []
    for comparison in COMPARISONS:
        for text, choose in ((comparison.earlier, min), (comparison.later, max)):
            if match := re.fullmatch(template(text, first="(.+?)", second="(.+)"), question):
                names = [resolve(phrase, facts) for phrase in match.groups()]
                answers.append(choose(names, key=lambda name: int(facts[comparison.relation, name])))
    for relation in RELATIONS:
        if match := re.fullmatch(template(relation.question, subject="(.+)"), question):
            answers.append(facts[relation.name, resolve(match[1], facts)])
    return answers


def test_solve_follows_a_chain_by_hand():
    facts = {("director", "Silent Garden"): "Ann Lee", ("birthplace", "Ann Lee"): "Oakford"}
    assert solve("Where was the director of Silent Garden born?", facts) == ["Oakford"]


def test_solve_compares_by_hand():
    facts = {("birth year", "Ann Lee"): "1900", ("birth year", "Bob Ray"): "1850"}
    assert solve("Who was born earlier, Ann Lee or Bob Ray?", facts) == ["Bob Ray"]
    assert solve("Who was born later, Ann Lee or Bob Ray?", facts) == ["Ann Lee"]


@every_file
def test_shipped_questions_have_one_answer_from_their_supporting_documents(file):
    for question in shipped(file):
        supporting = [document for document in question.documents if document.is_supporting]
        assert solve(question.question, facts_of(supporting)) == [question.answer]


@every_file
def test_shipped_questions_have_the_same_answer_from_all_documents(file):
    for question in shipped(file):
        assert solve(question.question, facts_of(question.documents)) == [question.answer]


@every_file
def test_shipped_questions_need_every_supporting_document(file):
    for question in shipped(file):
        for missing in (document for document in question.documents if document.is_supporting):
            facts = facts_of(document for document in question.documents if document is not missing)
            with pytest.raises(KeyError):
                solve(question.question, facts)


@every_file
def test_shipped_questions_offer_a_wrong_answer_of_the_same_relation(file):
    for question in shipped(file):
        facts = facts_of(question.documents)
        if "comparison" in question.question_type:
            continue
        (last,) = [r for r in RELATIONS if re.fullmatch(template(r.question, subject=".+"), question.question)]
        assert len({obj for (relation, _), obj in facts.items() if relation == last.name}) > 1


@every_file
def test_shipped_answers_do_not_stand_in_the_question(file):
    for question in shipped(file):
        golds = [normalize(gold) for gold in question.golds]
        assert all(golds)
        found = any(f" {gold} " in f" {normalize(question.question)} " for gold in golds)
        assert found == (question.question_type == "comparison"), question
        assert 1 <= len(question.answer.split()) <= 3


@every_file
def test_shipped_answers_are_not_frequent(file):
    questions = [question for question in shipped(file) if question.question_type != "comparison"]
    ((_, most),) = collections.Counter(question.answer for question in questions).most_common(1)
    assert most / len(questions) <= 0.10


@every_file
def test_shipped_answers_are_not_guessable_from_document_order(file):
    n_documents = 4 if file.style.documents == (4, 4) else 8
    shares = collections.Counter()
    questions = [question for question in shipped(file) if len(question.documents) == n_documents]
    bridges = [question for question in questions if question.question_type == "bridge"]
    for question in bridges:
        (place,) = [
            place
            for place, document in enumerate(question.documents)
            if document.text and re.search(rf"\b{question.answer}\b", document.text)
        ]
        shares[place] += 1
    fair = 1 / n_documents
    # Four standard deviations of a fair share.
    slack = 4 * (fair * (1 - fair) / len(bridges)) ** 0.5
    assert all(abs(shares[place] / len(bridges) - fair) <= slack for place in range(n_documents)), shares


@every_file
def test_shipped_comparisons_are_balanced(file):
    compared = [question for question in shipped(file) if question.question_type == "comparison"]
    firsts = sum(question.question.index(question.answer) < question.question.index(" or ") for question in compared)
    earlier = sum("earlier" in question.question for question in compared)
    for part in (firsts, earlier):
        assert abs(part / len(compared) - 0.5) <= 4 * (0.25 / len(compared)) ** 0.5


SHAPES = {
    "demo_train": {("bridge", 2): 205, ("comparison", 2): 51},
    "demo_dev": {("bridge", 2): 77, ("comparison", 2): 19},
    "multihop_train": {
        ("bridge", 2): 60, ("bridge", 3): 60, ("bridge", 4): 60, ("comparison", 2): 30, ("bridge_comparison", 4): 30,
    },
    "multihop_dev": {
        ("bridge", 2): 30, ("bridge", 3): 30, ("bridge", 4): 30, ("comparison", 2): 15, ("bridge_comparison", 4): 15,
    },
}  # fmt: skip


@every_file
def test_shipped_files_have_their_mixture(file):
    questions = shipped(file)
    assert collections.Counter((question.question_type, question.hops) for question in questions) == SHAPES[file.name]
    assert {question.source for question in questions} == {"synthetic"}
    assert len({question.question for question in questions}) == file.rows
    low, high = file.style.documents
    for question in questions:
        assert low <= len(question.documents) <= high
        assert sum(document.is_supporting for document in question.documents) == question.hops
        assert question.level == {2: "easy", 3: "medium", 4: "hard"}[question.hops]
        sentences = [document.text.count(".") for document in question.documents]
        assert max(sentences) <= 1 + file.style.extra_facts[1]
    with_alias = sum(bool(question.aliases) for question in questions) / file.rows
    assert 0.1 < with_alias < 0.4


def entities(file):
    found = set()
    for question in shipped(file):
        for (_, subject), obj in facts_of(question.documents).items():
            found |= {subject, obj}
    return found


def test_shipped_train_and_dev_share_no_entity():
    train, dev = (set.union(*(entities(f) for f in FILES if f.side == side)) for side in ("train", "dev"))
    assert len(train) > 500
    assert len(dev) > 500
    assert not train & dev


def test_shipped_ids_are_unique_over_all_files():
    ids = [question.question_id for file in FILES for question in shipped(file)]
    assert len(set(ids)) == len(ids) == 712


def test_shipped_files_are_small():
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 1_000_000


def test_write_samples_makes_the_shipped_files_byte_for_byte(tmp_path):
    for path in write_samples(tmp_path):
        assert path.read_bytes() == (SAMPLES / path.name).read_bytes(), path.name
    assert {path.name for path in SAMPLES.glob("*.jsonl")} == {path.name for path in tmp_path.iterdir()}


def test_command_of_the_readme_makes_the_shipped_files(tmp_path):
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^python (-m .*)--out data_samples$", readme, re.M)
    arguments = [sys.executable, *command.split(), "--out", str(tmp_path)]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=SAMPLES.parent)
    assert ran.stdout.splitlines() == [str(tmp_path / f"{file.name}.jsonl") for file in FILES]
    assert (tmp_path / "demo_dev.jsonl").read_bytes() == (SAMPLES / "demo_dev.jsonl").read_bytes()


def test_generate_questions_depends_on_the_seed():
    assert generate_questions(FILES[1]) != generate_questions(dataclasses.replace(FILES[1], seed=99))


def test_pools_share_no_word_between_kinds_or_sides():
    words = {kind: set(pool.first) | set(pool.last) for kind, pool in POOLS.items()}
    for one, other in itertools.combinations(words, 2):
        assert not words[one] & words[other], (one, other)
    for kind, pool in POOLS.items():
        assert not set(pool.first_of("train")) & set(pool.first_of("dev")), kind
        assert len(set(pool.first)) == len(pool.first)
        assert len(set(pool.last)) == len(pool.last)
    assert not set(YEARS["train"]) & set(YEARS["dev"])


def test_relations_have_phrases_and_nouns_of_their_own():
    phrases = [phrase for relation in RELATIONS for phrase in relation.phrases]
    assert len(set(phrases)) == len(phrases) == 36
    assert len({relation.noun for relation in RELATIONS}) == len(RELATIONS) == len(BY_NAME)
    assert len({relation.question for relation in RELATIONS}) == len(RELATIONS)
    assert all(BY_NAME[comparison.relation].object == "year" for comparison in COMPARISONS)


def test_chains_fit_end_to_end():
    for chain in chains(MULTIHOP.relations, 3):
        assert len(set(chain)) == 3
        assert all(one.object == other.subject for one, other in itertools.pairwise(chain))


def test_chains_of_one_hop_are_the_relations():
    assert chains(RELATIONS, 1) == [(relation,) for relation in RELATIONS]


def test_dice_keep_their_sequence():
    """Figures written down once: a Python that rolls otherwise would make other files."""
    dice = Dice(11)
    assert [dice.between(1, 6) for _ in range(8)] == ROLLS
    assert dice.shuffled("abcdef") == SHUFFLED


def test_dice_are_fair():
    dice = Dice(3)
    places = collections.Counter(dice.shuffled("abc").index("a") for _ in range(3000))
    assert all(abs(n - 1000) < 120 for n in places.values())
    assert {dice.between(1, 3) for _ in range(99)} == {1, 2, 3}
    assert 400 < sum(dice.chance(0.5) for _ in range(1000)) < 600
