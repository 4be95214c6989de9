"""Broken recipes and fuzzed inputs: each is read, or refused by an error that has a name."""

import json
import random
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mbt_lite.data.predictions import iter_predictions
from mbt_lite.data.questions import read_questions
from mbt_lite.endpoint.reading import NoReplyError, read_reply
from mbt_lite.endpoint.replies import TeacherRequest
from mbt_lite.errors import MbtError, RecipeError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.judge.subjects import Subject
from mbt_lite.judge.verdicts import NoVerdictError, read_verdict
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.keys import known_keys
from mbt_lite.recipe.schema import Questions, Teacher
from mbt_lite.rewards.law import score
from mbt_lite.rewards.terms import RewardLimits
from mbt_lite.traces.reply import read_reply as read_trace

ROOT = Path(__file__).parents[2]
NAMED = (MbtError, NoReplyError, NoVerdictError)
# What breaks parsers: tags, brackets, escapes, numbers without end, characters that are none.
SALT = (
    "<think>", "</think>", "<answer>", "</answer>", "{", "}", "[", "]", '"', "'", ":", ",", "\\", "\n", "\r\n", "\0",
    "\ufeff", "\u2028", "\ud83d", "\\ud83d", "```json", "null", "NaN", "-1", "1e999", "9" * 5000, "[" * 3000, "é", "𝔄",
    "true", "data:", "[DONE]", "- ", "&a", "*a", "!!int 4", "? ", "\t", "<|im_end|>", "version https://git-lfs.github.com/",
)  # fmt: skip
VALUES = (
    "x",
    "",
    "-1",
    "0",
    "1e400",
    "99999999999999999",
    "null",
    "[]",
    "{}",
    "[1, 2]",
    "true",
    "1.5",
    "'",
    "\u00e9",
    "*a",
    "nan",
)


def break_recipes(times: int, chance: random.Random) -> list[str]:
    """Put a wrong value at a known key, a known value at a wrong key, or cut the text; each is lines, or a recipe."""
    text, keys = (ROOT / "recipes/demo.yaml").read_text(), [".".join(path) for path in known_keys()]
    wrong = []
    for number in range(times):
        key, value = chance.choice(keys), chance.choice(VALUES)
        settings = [[f"{key}={value}"], [f"{key}.{value}=1"], [f"{key[:-1]}={value}", f"{key}={value}"]][number % 3]
        cut = text if number % 2 else mutated([text], chance)
        wrong += _refused(f"recipe with {settings}", lambda cut=cut, settings=settings: _load(cut, settings), cut)
    return wrong


def _load(text: str, settings: Sequence[str]) -> None:
    path = Path(tempfile.gettempdir()) / "fuzzed.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_recipe(path, settings)
    except RecipeError as error:
        if any(len(line.splitlines()) != 1 for line in error.problems):
            raise AssertionError(error.problems) from error
    finally:
        path.unlink()


def fuzz(times: int, chance: random.Random) -> list[str]:
    """Feed mutated inputs to every parser; recipes, which cost most, get a tenth of a share."""
    with tempfile.TemporaryDirectory() as scratch:
        parsers = _parsers(Path(scratch) / "fuzzed")
        names = [name for name in parsers for _ in range(1 if name == "recipe" else 10)]
        wrong = []
        for _ in range(times):
            name = chance.choice(names)
            seeds, parse = parsers[name]
            text = mutated(seeds, chance)
            wrong += _refused(name, lambda parse=parse, text=text: parse(text), text)
        return wrong


def _refused(what: str, read: Callable[[], object], text: str) -> list[str]:
    try:
        read()
    except NAMED:
        pass
    except Exception:
        return [f"{what}: {traceback.format_exc()[-1200:]}\nof {text[:300]!r}"]
    return []


def mutated(seeds: Sequence[str], chance: random.Random) -> str:
    """Cut, double, salt or cross a text, one to four times."""
    text = chance.choice(seeds)
    for _ in range(chance.randint(1, 4)):
        start, end = sorted(chance.randint(0, len(text)) for _ in range(2))
        text = (
            text[:start] + text[end:],
            text[:end] + text[start:],
            text[:start] + chance.choice(SALT) + text[start:],
            text[:start] + chance.choice(SALT) + text[end:],
            text[:start] + chance.choice(seeds)[start:],
        )[chance.randrange(5)]
    return text


def _parsers(path: Path) -> dict[str, tuple[Sequence[str], Callable[[str], object]]]:
    """Give seeds and a reader of each kind of input."""
    limits = RewardLimits(max_completion_tokens=64, verification_words=4, overlong_buffer_tokens=8)
    subject = Subject("q?", ("Rome",), "(not marked)", "medium", answer="Rome", trace="First.\n\nThen Rome.")
    speaker, request = Teacher(base_url="http://localhost/v1"), TeacherRequest("k", "l", (), 0)
    completion = "<think>\nWe read.\n\nIt is Rome.\n</think>\n\n<answer>Rome</answer>"
    body = {"id": "c", "model": "m", "choices": [{"message": {"content": completion}, "finish_reason": "stop"}]}
    verdict = ['{"hit": true}', '{"score": 3}', '{"first_correct": 2, "redundant": [1]}', '{"prefix": "First."}']

    def of_file(read: Callable[[Path], object]) -> Callable[[str], object]:
        def parse(text: str) -> object:
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
            return read(path)

        return parse

    def law(text: str) -> None:
        for prefilled in (False, True):
            score(text, stopped=True, completion_tokens=9, golds=["Rome"], limits=limits, prefilled_think=prefilled)

    def reply(text: str) -> None:
        read_reply("k", request, text, speaker)

    def verdicts(text: str) -> None:
        for kind in KINDS:
            try:
                read_verdict(kind, text, subject)
            except NoVerdictError:
                continue

    def traces(text: str) -> None:
        for has_phases in (False, True):
            read_trace(text, has_phases=has_phases)

    def questions(file: Path) -> object:
        return read_questions(Questions(path=str(file)), 0)

    samples = [
        (ROOT / f"data_samples/{name}.jsonl").read_text().splitlines()[0] for name in ("demo_dev", "multihop_dev")
    ]
    array = json.dumps([json.loads(line) for line in samples], indent=1)
    given = ['{"question_id": "a", "text": "x"}\n', '{"answer": {"a": "Rome"}, "sp": {}}']
    return {
        "completion": ([completion, completion * 2], law),
        "verdict": (verdict, verdicts),
        "reply": ([json.dumps(body), "data: " + json.dumps(body) + "\n\ndata: [DONE]\n"], reply),
        "trace": ([completion, "**Phase 1**\n1. We read.\n\nSo the answer is Rome."], traces),
        "recipe": ([(ROOT / "recipes/demo.yaml").read_text()], of_file(load_recipe)),
        "journal": (['{"step": 1}\n{"step": 2}\n'], of_file(lambda file: read_jsonl(file, step=int))),
        "mark": (['{"inputs": {"a": "b"}}'], of_file(lambda file: read_json(file, inputs=dict))),
        "layout": ([*[f"{line}\n" for line in samples], array, *LAYOUTS], of_file(questions)),
        "predictions": (given, of_file(lambda file: list(iter_predictions(file)))),
    }


KINDS: tuple[Any, ...] = ("accuracy", "hit", "overthinking", "underthinking", "metacognition", "reach", "quality")
LAYOUTS = (
    json.dumps({"_id": "a", "question": "q?", "answer": "Rome", "context": [["T", ["s."]]],
                "supporting_facts": [["T", 0]]}),
    json.dumps({"id": "a", "question": "q?", "answer": "Rome", "context": {"title": ["T"], "sentences": [["s."]]},
                "supporting_facts": {"title": ["T"], "sent_id": [0]}, "type": "bridge", "level": "hard"}),
    json.dumps({"id": "2hop__1_2", "question": "q?", "answer": "Rome", "answer_aliases": [], "answerable": True,
                "paragraphs": [{"idx": 0, "title": "T", "paragraph_text": "s.", "is_supporting": True}],
                "question_decomposition": []}),
)  # fmt: skip
