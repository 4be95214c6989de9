"""`mbt-lite score`: every shape of predictions, what does not join, and the gold of every real row."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mbt_lite.cli import app
from mbt_lite.data import stream
from mbt_lite.data.answer_keys import read_answer_keys
from mbt_lite.errors import DataError
from mbt_lite.files import write_jsonl
from mbt_lite.score import report_lines, score_file

SAMPLES = Path(__file__).parents[1] / "data_samples"
QUESTIONS = [
    {"id": "2hop__1", "answer": "Rome", "answer_aliases": ["Roma"], "paragraphs": []},
    {"id": "3hop1__2", "answer": "New York", "answer_aliases": [], "paragraphs": []},
    {"id": "4hop__3", "answer": "12 May", "answer_aliases": [], "paragraphs": []},
]
RIGHT = {"2hop__1": "roma", "3hop1__2": "New York City", "4hop__3": None}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    write_jsonl(path, QUESTIONS)
    return path


@pytest.fixture
def scored(tmp_path: Path, questions: Path) -> Callable[..., dict[str, Any]]:
    """Write predictions as rows or as text and score them."""

    def run(given: list[Mapping[str, Any]] | str, **options: Any) -> dict[str, Any]:
        path = tmp_path / "predictions"
        path.write_text(given if isinstance(given, str) else "".join(json.dumps(row) + "\n" for row in given))
        return score_file(path, questions, samples=20, **options)

    return run


SHAPES: dict[str, str] = {
    "JSONL with question_id": "\n".join(json.dumps({"question_id": i, "answer": a}) for i, a in RIGHT.items()),
    "JSONL with blank lines": "\n\n".join(json.dumps({"_id": i, "answer": a}) for i, a in RIGHT.items()) + "\n\n",
    "MuSiQue's official lines": "\n".join(
        json.dumps({"id": i, "predicted_answer": a, "predicted_support_idxs": [1], "predicted_answerable": True})
        for i, a in RIGHT.items()
    ),
    "an array": json.dumps([{"id": i, "answer": a} for i, a in RIGHT.items()], indent=1),
    "an official answer file": json.dumps({"answer": RIGHT, "sp": {}}),
    "an official answer file over many lines": json.dumps({"answer": RIGHT, "sp": {}, "evidence": {}}, indent=2),
    "with a byte order mark": "\ufeff" + "\n".join(json.dumps({"id": i, "answer": a}) for i, a in RIGHT.items()),
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_score_file_reads_every_shape(scored: Callable[..., dict[str, Any]], text: str) -> None:
    found = scored(text)
    means = {name: estimate["mean"] for name, estimate in found["metrics"].items()}
    assert means == pytest.approx({"exact_match": 1 / 3, "f1": 0.6, "substring_match": 2 / 3, "answered": 2 / 3})
    assert (found["n_questions"], found["n_predictions"]) == (3, 3)
    assert found["breakdown"]["tier"]["easy"]["metrics"]["exact_match"]["mean"] == 1


def test_score_file_reads_the_answer_from_a_text_and_measures_its_trace(scored: Callable[..., dict[str, Any]]) -> None:
    texts = ["<think>It is Rome.</think><answer>Roma</answer>", "<think>It is New York.</think><answer>Oslo</answer>"]
    rows = [
        {"id": name, "text": text, "finish_reason": "stop", "completion_tokens": 7}
        for name, text in zip(("2hop__1", "3hop1__2"), texts, strict=True)
    ]
    found = scored(rows, skip_missing=True)["metrics"]
    assert (found["exact_match"]["mean"], found["answer_hit"]["mean"]) == (0.5, 1.0)
    assert found["answer_inclusive_error"]["mean"] == 0.5
    assert (found["stopped"]["mean"], found["completion_tokens"]["mean"]) == (1.0, 7.0)


def test_score_file_counts_the_phases_that_a_record_gives_and_says_where_none_does(
    scored: Callable[..., dict[str, Any]],
) -> None:
    row = {"question_id": "2hop__1", "text": "<think>First we look.</think><answer>Rome</answer>"}
    unread = scored([row])["metrics"]
    assert unread["phase_coverage"]["undefined_reason"].startswith("no prediction says its `phases`")
    assert "phase/plan" not in unread
    given = scored([{**row, "phases": [{"phase": "plan", "start": 7, "end": 21}]}])["metrics"]
    assert (given["phase_coverage"]["mean"], given["phase/plan"]["mean"], given["phase/verify"]["mean"]) == (0.2, 1, 0)
    with pytest.raises(DataError, match=r"predictions:1: phases are no spans of the text \(got \['plan'\]\)"):
        scored([{**row, "phases": ["plan"]}])


def test_score_file_takes_a_given_answer_before_that_of_the_text(scored: Callable[..., dict[str, Any]]) -> None:
    row = {"id": "2hop__1", "answer": "Rome", "text": "<think>Hm.</think><answer>Oslo</answer>"}
    assert scored([row], skip_missing=True)["metrics"]["exact_match"]["mean"] == 1


def test_score_file_takes_each_metric_over_the_records_that_allow_it(scored: Callable[..., dict[str, Any]]) -> None:
    rows = [{"id": "2hop__1", "answer": "Rome", "completion_tokens": 3}, {"id": "4hop__3", "answer": "Rome"}]
    found = scored(rows)["metrics"]
    assert set(found) == {"exact_match", "f1", "substring_match", "answered", "completion_tokens"}
    assert (found["completion_tokens"]["mean"], found["completion_tokens"]["n"]) == (3, 1)


def named(texts: list[str], **fields: Any) -> list[dict[str, Any]]:
    """Give a row a question for each text."""
    return [{"id": question["id"], "text": text, **fields} for question, text in zip(QUESTIONS, texts, strict=False)]


CUT_OFF = "It may be <answer>New York</answer>, but wait"


def test_score_file_reads_texts_that_the_template_opened(scored: Callable[..., dict[str, Any]]) -> None:
    rows = named(["It is Rome.</think><answer>Rome</answer>", CUT_OFF, "So 12 May.</think><answer>12 May</answer>"])
    found, asked = scored(rows), scored(rows, prefilled_think=True)
    assert found["metrics"] == asked["metrics"]
    assert found["metrics"]["exact_match"]["mean"] == pytest.approx(2 / 3)
    assert found["metrics"]["answer_hit"]["mean"] == pytest.approx(2 / 3)
    assert found["notes"] == [
        "think: 2 of 3 texts close a trace and none opens one: all are read as begun inside it, as with "
        "--prefilled-think; what stands in the 1 that never close it is no answer"
    ]
    assert asked["notes"] == []


NOTES = {
    "all is well": (["<think>Rome.</think><answer>Rome</answer>"] * 2, {}, None),
    "some closed alone": (
        ["<think>Rome.</think><answer>Rome</answer>", "York.</think><answer>Oslo</answer>", "<answer>1</answer>"],
        {},
        "think: 1 of 3 texts close a trace that they did not open: they are read as begun inside it; 1 show no trace",
    ),
    "few closed alone": (
        ["Rome.</think><answer>Rome</answer>", "<answer>Oslo</answer>", "<answer>1</answer>"],
        {},
        "think: 1 of 3 texts close a trace that they did not open: they are read as begun inside it; 2 show no trace",
    ),
    "no trace to be seen": (
        ["<answer>Rome</answer>", "<answer>Oslo</answer>"],
        {},
        "think: none of 2 texts shows a trace, so figures of traces are left out; if a server split the reasoning",
    ),
    "asked, and none closes": (
        ["<answer>Rome</answer>", "<answer>Oslo</answer>"],
        {"prefilled_think": True},
        "think: none of 2 texts closes a trace that the template opened, so none is read as intended; leave out",
    ),
    "asked, and some open": (
        ["<think>Rome.</think><answer>Rome</answer>", "York.</think><answer>Oslo</answer>"],
        {"prefilled_think": True},
        "think: 1 of 2 texts open a trace themselves although --prefilled-think says the template did",
    ),
}


@pytest.mark.parametrize(("texts", "options", "told"), NOTES.values(), ids=NOTES)
def test_score_file_says_what_it_saw_of_traces(
    scored: Callable[..., dict[str, Any]], texts: list[str], options: dict[str, Any], told: str | None
) -> None:
    notes = scored(named(texts), **options)["notes"]
    assert len(notes) == (told is not None)
    assert not told or notes[0].startswith(told)


def test_score_file_reads_a_text_that_closes_alone_as_begun_inside(scored: Callable[..., dict[str, Any]]) -> None:
    rows = named(["<think>Rome.</think><answer>Rome</answer>", f"{CUT_OFF}</think>"])
    assert scored(rows, skip_missing=True)["metrics"]["answered"]["mean"] == 0.5


@pytest.mark.parametrize("tag", ["<thinking>", "[THINK]", "<seed:think>", "◁think▷", "<|channel|>analysis"])
def test_score_file_names_the_tags_of_other_models(scored: Callable[..., dict[str, Any]], tag: str) -> None:
    found = scored(named([f"{tag}Rome it is. <answer>Rome</answer>"]))
    assert found["notes"][1] == (
        f"think: texts open a trace in other words ({tag} in 1); write <think> and </think> for them"
    )
    assert "answer_hit" not in found["metrics"]


ENDINGS = {
    "stop": 1, "STOP": 1, "eos": 1, "end_turn": 1, "stop_sequence": 1, "length": 0, "MAX_TOKENS": 0,
    "content_filter": None, "tool_calls": None, "abort": None, "error": None, "": None,
}  # fmt: skip


@pytest.mark.parametrize(("ending", "stopped"), ENDINGS.items())
def test_score_file_reads_the_endings_of_other_servers(
    scored: Callable[..., dict[str, Any]], ending: str, stopped: int | None
) -> None:
    rows = named(["<think>Rome.</think><answer>Rome</answer>", "<think>No.</think><answer>Oslo</answer>"])
    found = scored([rows[0] | {"finish_reason": ending}, rows[1] | {"finish_reason": "stop"}], skip_missing=True)
    assert found["metrics"]["exact_match"]["mean"] == 0.5
    whole = {"n": 1 + (stopped is not None), "mean": 0.5 if stopped == 0 else 1}
    assert {name: found["metrics"]["stopped"][name] for name in whole} == whole
    assert len(found["notes"]) == (stopped is None)


def test_score_file_counts_what_does_not_say_how_it_ended(scored: Callable[..., dict[str, Any]]) -> None:
    texts = ["<think>Rome.</think><answer>Rome</answer>"] * 3
    rows = named(texts)
    rows[0] |= {"finish_reason": {"type": "length", "length": 9}}
    rows[1] |= {"finish_reason": "content_filter"}
    rows[2] |= {"finish_reason": None}
    found = scored(rows)
    assert (found["metrics"]["stopped"]["mean"], found["metrics"]["degenerate"]["n"]) == (0, 1)
    assert found["notes"] == [
        "endings: 1 predictions end neither by stop nor by length (content_filter 1), left out of stopped and "
        "degenerate",
        "endings: 1 predictions do not say how they ended, left out of stopped and degenerate",
    ]


def test_score_file_counts_a_missing_prediction_as_wrong_or_skips_it(scored: Callable[..., dict[str, Any]]) -> None:
    rows = [{"id": "2hop__1", "answer": "Rome"}]
    found = scored(rows)
    assert found["missing"] == {"n": 2, "first": ["3hop1__2", "4hop__3"], "counted_as_wrong": True}
    assert found["metrics"]["exact_match"]["mean"] == pytest.approx(1 / 3)
    skipped = scored(rows, skip_missing=True)
    assert (skipped["missing"]["n"], skipped["n_questions"]) == (2, 1)
    assert skipped["metrics"]["exact_match"]["mean"] == 1


def test_score_file_leaves_unknown_ids_out_and_names_them(scored: Callable[..., dict[str, Any]]) -> None:
    found = scored([{"id": "2hop__1", "answer": "Rome"}, {"id": "zzz", "answer": "Rome"}])
    assert found["unknown"] == {"n": 1, "first": ["zzz"]}
    assert found["n_predictions"] == 1
    with pytest.raises(DataError, match=r"no prediction is for a question of .*got ids such as zzz"):
        scored([{"id": "zzz", "answer": "Rome"}])


def test_score_file_takes_several_completions_of_a_question(scored: Callable[..., dict[str, Any]]) -> None:
    rows = [
        {"id": "2hop__1", "answer": answer, "rollout_index": index} for index, answer in enumerate(["Rome", "Oslo"])
    ]
    found = scored(rows, skip_missing=True)
    assert found["metrics"]["exact_match"]["mean"] == 0.5
    assert found["at_k"]["pass@2"]["mean"] == 1
    missing = scored(rows)
    assert missing["metrics"]["exact_match"]["mean"] == missing["at_k"]["avg@2"]["mean"] == pytest.approx(0.5 / 3)
    assert (missing["at_k"]["pass@2"]["mean"], missing["at_k"]["pass@2"]["n"]) == (pytest.approx(1 / 3), 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            '{"id": "2hop__1", "answer": "a"}\n{"id": "2hop__1", "answer": "b"}\n',
            r":2: a prediction stands twice \(got '2hop__1', rollout_index 0\); delete one, or number",
            id="twice",
        ),
        pytest.param('{"answer": "a"}\n', r":1: no id \(got answer\); add one of question_id, _id, id", id="no id"),
        pytest.param('{"id": "2hop__1"}\n', r":1: no prediction \(got id\); add one of answer", id="no prediction"),
        pytest.param('{"id": "2hop__1", "answer": 5}\n', r":1: field \"answer\": is not text", id="number"),
        pytest.param('{"id": 7, "answer": "a"}\n', r":1: field \"id\": is not text", id="id is a number"),
        pytest.param('{"answer": {"2hop__1": ["a"]}}', r"answer of 2hop__1: is not text", id="official list"),
        pytest.param('{"id": "2hop__1", "answer": "a"\n', r":1: not JSON", id="torn line"),
        pytest.param("[1]", r"record 1: record: is not an object", id="no object"),
        pytest.param(
            '[{"id": "2hop__1", "answer": "a"}', r"predictions:1: not JSON \(Expecting ',' ", id="array without end"
        ),
    ],
)
def test_score_file_refuses_with_the_place(scored: Callable[..., dict[str, Any]], given: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        scored(given)


def test_score_file_names_a_file_that_is_not_there(questions: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.jsonl: no such file; its folder holds"):
        score_file(Path("nowhere.jsonl"), questions)


def test_command_prints_what_did_not_join_first_and_json_on_demand(tmp_path: Path, questions: Path) -> None:
    predictions = tmp_path / "p.jsonl"
    write_jsonl(predictions, [{"id": "2hop__1", "answer": "Rome"}, {"id": "zzz", "answer": "x"}])
    arguments = ["score", str(predictions), "--questions", str(questions)]
    lines = CliRunner().invoke(app, arguments).output.splitlines()
    assert lines[:3] == [
        "1 predictions, 3 questions scored",
        "missing: 2 questions have no prediction and count as wrong (3hop1__2, 4hop__3)",
        "unknown: 1 predictions are for no question of the file, left out (zzz)",
    ]
    assert any(line.startswith("exact_match ") and "0.3333" in line for line in lines)
    as_json = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert as_json["metrics"]["exact_match"]["n"] == 3
    refused = CliRunner().invoke(app, [*arguments, "--layout", "squad"])
    assert refused.exit_code == 2


WIKI = {"_id": "w1", "type": "comparison", "evidences": [], "answer": "Italy", "answer_id": "Q38"}


def test_score_file_takes_2wikis_alias_file(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(json.dumps([WIKI, {**WIKI, "_id": "w2", "answer_id": "Q0"}]))
    write_jsonl(tmp_path / "id_aliases.json", [{"Q_id": "Q38", "aliases": ["Italia"], "demonyms": ["Italian"]}])
    (tmp_path / "p.json").write_text(json.dumps({"answer": {"w1": "italian", "w2": "Italia"}}))
    plain = score_file(tmp_path / "p.json", tmp_path / "dev.json", samples=5)
    with_aliases = score_file(
        tmp_path / "p.json", tmp_path / "dev.json", aliases=tmp_path / "id_aliases.json", samples=5
    )
    assert plain["metrics"]["exact_match"]["mean"] == 0
    assert with_aliases["metrics"]["exact_match"]["mean"] == 0.5


def test_aliases_are_refused_for_other_layouts(tmp_path: Path, questions: Path) -> None:
    write_jsonl(tmp_path / "a.json", [{"Q_id": "Q1", "aliases": [], "demonyms": []}])
    with pytest.raises(DataError, match="aliases are 2Wiki's"):
        read_answer_keys(questions, aliases_path=tmp_path / "a.json")


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_iter_records_reads_an_array_whatever_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(stream, "CHUNK_CHARACTERS", chunk)
    rows = [{"n": n, "text": 'a"],[{' * n} for n in range(20)]
    for indent in (None, 2):
        (tmp_path / "a.json").write_text("\n " + json.dumps(rows, indent=indent) + "\n")
        assert [row for _, row in stream.iter_records(tmp_path / "a.json")] == rows
    (tmp_path / "a.json").write_text("[]")
    assert list(stream.iter_records(tmp_path / "a.json")) == []


FILES = {
    "musique_ans_dev_100.jsonl": 100,
    "musique_ans_train_100.jsonl": 100,
    "musique_odd_answers_100.jsonl": 100,
    "hotpot_dev_distractor_100.json": 100,
    "hotpot_train_100.json": 100,
    "hotpot_dev_distractor_50.hf.jsonl": 50,
    "2wikimultihop_dev_150.json": 150,
    "2wikimultihop_10_missing_context.json": 10,
}


def hold_golds_against(path: Path, folder: Path, n_rows: int) -> None:
    """Score the golds, then every alias, of a file as predictions: 1.0 on every row."""
    keys = read_answer_keys(path)
    assert len(keys) == n_rows
    for index in range(max(len(key.golds) for key in keys.values())):
        answers = {name: key.golds[min(index, len(key.golds) - 1)] for name, key in keys.items()}
        (folder / "golds.json").write_text(json.dumps({"answer": answers}))
        found = score_file(folder / "golds.json", path, samples=5)
        assert (found["n_questions"], found["missing"]["n"], found["unknown"]["n"]) == (n_rows, 0, 0)
        for name in ("exact_match", "f1", "substring_match", "answered"):
            assert found["metrics"][name]["mean"] == 1.0, name


@pytest.mark.parametrize("name", FILES)
def test_golds_of_every_real_file_score_1(shared_data: Path, tmp_path: Path, name: str) -> None:
    hold_golds_against(shared_data / name, tmp_path, FILES[name])


def test_every_real_file_is_held_against_its_golds(shared_data: Path) -> None:
    found = {path.name for path in shared_data.glob("*.json*") if not path.name.startswith("real_teacher")}
    assert found == {*FILES, "official_scorer_outputs_22.json"}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_golds_of_every_sample_file_score_1(tmp_path: Path, path: Path) -> None:
    hold_golds_against(path, tmp_path, len(path.read_text(encoding="utf-8").splitlines()))


def test_score_file_says_where_questions_have_fewer_completions_than_others(
    scored: Callable[..., dict[str, Any]],
) -> None:
    several = [{"id": "2hop__1", "answer": "Rome", "rollout_index": index} for index in range(4)]
    one = {"id": "3hop1__2", "answer": "Rome"}
    more = [{**one, "rollout_index": 1}, {**one, "rollout_index": 2}]
    said = "completions: 1 of 2 questions have fewer than 4 predictions (the least is {}), so figures at k {}"
    for rows, least, fate in (([one], 1, "are left out"), ([one, *more], 3, "end at k = 3")):
        assert scored([*several, *rows])["notes"] == [f"{said.format(least, fate)} (3hop1__2)"]
    assert scored([*several])["notes"] == []


def test_command_says_why_a_figure_of_one_question_has_no_interval(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(json.dumps(QUESTIONS[0]))
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "2hop__1", "answer": "old Rome"}))
    lines = report_lines(score_file(tmp_path / "p.jsonl", tmp_path / "one.jsonl", samples=20))
    assert [line.split(maxsplit=2)[1:] for line in lines if line.startswith("f1 ")] == [
        ["0.6667", "no interval: it is of one question  n=1"]
    ]
