"""What eval measures beyond one greedy completion: samples, pairs, AES, judges, endpoints, aliases."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from eval_lab import ANSWERS, Lab, metrics, question
from teacher_server import Answer, Body, completion, refusal, teacher_server

from mbt_lite.errors import ModelError, RunError, TeacherError
from mbt_lite.files import read_json, read_jsonl, write_jsonl
from mbt_lite.metrics import scorecard
from mbt_lite.recipe.schema import EvalStudent, Questions, StudentModels
from mbt_lite.records import PhaseSpan, Trace, to_row
from mbt_lite.stages import eval as stage
from mbt_lite.text.paragraphs import paragraph_spans
from mbt_lite.text.phases import PHASES


def test_run_makes_and_scores_several_completions_of_a_question(lab: Lab) -> None:
    lab.with_eval(temperature=0.7, samples_per_question=3)
    assert stage.plan(lab.recipe, lab.run_dir)[1] == "eval: base: 18 completions to make, 0 there"
    lab.run()
    found = metrics(lab, "sft")
    assert (found["n_questions"], found["n_predictions"], found["samples_per_question"]) == (6, 18, 3)
    assert found["at_k"]["pass@3"]["mean"] == 1
    rows = read_jsonl(lab.run_dir.path / "eval" / "sft" / "predictions.jsonl")
    assert [(row["question_id"], row["rollout_index"]) for row in rows[:4]] == [
        ("q0", 0), ("q0", 1), ("q0", 2), ("q1", 0),
    ]  # fmt: skip


def test_run_completes_a_question_of_which_some_completions_are_there(lab: Lab) -> None:
    lab.with_eval(temperature=0.7, samples_per_question=2)
    lab.run()
    journal = lab.run_dir.path / "eval" / "sft" / "completions.jsonl"
    kept = journal.read_bytes().splitlines(keepends=True)[:3]
    journal.write_bytes(b"".join(kept))
    lab.run()
    rows = read_jsonl(journal)
    assert len(rows) == len({(row["question_id"], row["rollout_index"]) for row in rows}) == 12


def test_run_compares_every_variant_with_those_before_it(lab: Lab) -> None:
    lab.run()
    assert [list(metrics(lab, variant)["paired"]) for variant in ANSWERS] == [[], ["base"], ["base", "metacognitive"]]
    found = metrics(lab, "sft")["paired"]["base"]
    assert found["metrics"]["exact_match"]["difference"] == 1
    assert found["mcnemar"] == {"won": 6, "lost": 0, "p": pytest.approx(2 / 64)}


def test_run_takes_aes_against_the_variant_that_is_the_base(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # base itself is never right here, and a score against it has no meaning
    monkeypatch.setattr(scorecard, "BASE", "sft")
    lab.run()
    assert metrics(lab, "sft")["aes"] is None
    aes = metrics(lab, "base")["aes"]
    # base writes 5 words where sft writes 5: no length is saved, and all accuracy is lost
    tokens = [metrics(lab, variant)["metrics"]["completion_tokens"]["mean"] for variant in ("base", "sft")]
    assert aes["mean"] == pytest.approx((tokens[1] - tokens[0]) / tokens[1] - 5)
    assert (aes["against"], aes["alpha"], aes["beta"], aes["gamma"]) == ("sft", 1.0, 3.0, 5.0)


def test_run_keeps_the_questions_as_they_were_asked(lab: Lab) -> None:
    lab.run()
    kept = read_jsonl(lab.run_dir.path / "eval" / "questions.jsonl")
    assert kept == json.loads(json.dumps([to_row(question(number)) for number in range(6)]))


def test_run_says_why_nothing_read_the_phases(lab: Lab) -> None:
    lab.run()
    found = metrics(lab, "sft")
    assert found["phases"]["undefined_reason"] == "the run has no traces to learn the phases from"
    assert found["metrics"]["phase_coverage"]["undefined_reason"] == found["phases"]["undefined_reason"]
    rows = read_jsonl(lab.run_dir.path / "eval" / "sft" / "predictions.jsonl")
    assert {row["phases"] for row in rows} == {None}


def test_run_reads_the_phases_as_its_own_traces_label_them(lab: Lab) -> None:
    said = ("What is asked is a city.", "First we look.", "It must be Paris.", "Wait, is it?", "Checked: it is.")
    text = "\n\n".join(said)
    phases = tuple(PhaseSpan(phase, *span) for phase, span in zip(PHASES, paragraph_spans(text), strict=True))
    traces = [
        Trace(f"t{number}", f"t{number}", "mbt_s", None, 0, "t", False, "v", text, "Paris", (), (), phases)
        for number in range(16)
    ]
    write_jsonl(lab.run_dir.path / "gen" / "traces.jsonl", map(to_row, traces))
    printed = lab.run()
    found = metrics(lab, "sft")
    assert (found["phases"]["accuracy"], found["phases"]["n_paragraphs"], found["phases"]["n_traces"]) == (1.0, 80, 16)
    assert found["metrics"]["phase_coverage"]["mean"] == pytest.approx(0.2)
    assert found["metrics"]["phase/execute_monitor"]["mean"] == 1.0
    assert metrics(lab, "base")["metrics"]["phase_coverage"]["mean"] == 0.0
    row = read_jsonl(lab.run_dir.path / "eval" / "sft" / "predictions.jsonl")[0]
    assert [row["text"][span["start"] : span["end"]] for span in row["phases"]] == ["It must be Paris."]
    assert "held-out accuracy 100%" in " ".join(printed.split())


def test_run_without_a_judge_says_so(lab: Lab) -> None:
    lab.run()
    assert metrics(lab, "sft")["judged"] is None
    assert not (lab.run_dir.path / "eval" / "judge_replies.jsonl").exists()


def test_run_judges_over_http_and_keeps_every_verdict(lab: Lab) -> None:
    lab.with_judge(base_url="embedded", repeats=2)
    assert stage.plan(lab.recipe, lab.run_dir)[-1].startswith("eval: judged by scripted (accuracy, hit, ")
    lab.run()
    judged = metrics(lab, "metacognitive")["judged"]
    assert (judged["judge"], judged["scripted"], judged["base"]) == ("scripted", True, "base")
    means = {name: estimate["mean"] for name, estimate in judged["metrics"].items()}
    assert (means["accuracy"], means["answer_hit"], means["answer_inclusive_error"]) == (0, 1, 1)
    assert means["underthinking"] == 0
    assert means["overthinking"] is None
    assert judged["verdicts"]["accuracy"] == {"scored": 6, "by_rule": 0, "unscored": {}, "without_trace": 0}
    assert judged["self_agreement"]["accuracy"]["share"] == 1.0
    base = metrics(lab, "base")["judged"]
    assert base["verdicts"]["hit"] == {"scored": 0, "by_rule": 6, "unscored": {}, "without_trace": 0}
    assert base["metrics"]["not_attempted"]["mean"] == 1
    assert base["metrics"]["reach"]["n"] == 0
    rows = read_jsonl(lab.run_dir.path / "eval" / "sft" / "judgements.jsonl")
    assert {row["kind"] for row in rows} == {
        "accuracy", "hit", "metacognition", "reach", "quality", "overthinking",
    }  # fmt: skip
    assert len(rows) == 6 * 6 * 2
    replies = lab.run_dir.path / "eval" / "judge_replies.jsonl"
    before = replies.read_bytes()
    lab.run()
    assert replies.read_bytes() == before


def test_run_can_be_judged_after_it_is_done(lab: Lab) -> None:
    lab.run()
    lab.loaded.clear()
    lab.with_judge(base_url="embedded", measures=("hit",))
    lab.run()
    assert lab.loaded == []
    assert set(metrics(lab, "sft")["judged"]["verdicts"]) == {"hit"}


def test_run_answers_through_an_endpoint(lab: Lab) -> None:
    models = {"base": "student", "sft": "student-sft"}
    asked: list[tuple[str, float]] = []

    def answer(number: int, body: Body) -> Answer:
        asked.append((body["model"], body["temperature"]))
        if "number 5?" in body["messages"][-1]["content"]:
            return refusal(451, "not here")
        variant = "sft" if body["model"] == "student-sft" else "base"
        return completion(ANSWERS["metacognitive" if len(body["messages"]) == 2 else variant], model=body["model"])

    with teacher_server(answer) as server:
        lab.with_eval(student=EvalStudent(base_url=server.url, models=StudentModels(**models)))
        plan = stage.plan(lab.recipe, lab.run_dir)
        assert plan[1].endswith(f"0 there, by student at {server.url}")
        assert plan[6].startswith("eval: sft: about ")
        assert plan[6].endswith("at most 12,288 completion tokens (no prices in the recipe)")
        lab.run()
        sent = len(server.bodies)
        lab.run()
        # what was refused is asked again, the rest is in the journal
        assert len(server.bodies) == sent + 3
    assert lab.loaded == []
    assert set(asked) == {("student", 0.0), ("student-sft", 0.0)}
    exact = [metrics(lab, variant)["metrics"]["exact_match"]["mean"] for variant in ANSWERS]
    assert exact == [0, 0, 1]
    assert metrics(lab, "sft")["n_questions"] == 5
    assert metrics(lab, "sft")["left_out"] == [
        {"question_id": "q5", "reason": "endpoint gave no completion for sft: refused"}
    ]
    assert metrics(lab, "sft")["metrics"]["completion_tokens"]["mean"] == len(ANSWERS["sft"].split()) + 1


def test_run_refuses_a_server_that_answers_as_one_model_to_two_names(lab: Lab) -> None:
    models = StudentModels(base="student", sft="student-sft")
    with teacher_server(completion(ANSWERS["base"], model="student")) as server:
        lab.with_eval(student=EvalStudent(base_url=server.url, models=models))
        with pytest.raises(TeacherError, match=r"^eval\.student: student and student-sft are answered by one model"):
            lab.run()


def test_run_tells_of_a_server_that_signs_as_asked_but_answers_by_one_model(lab: Lab) -> None:
    models = StudentModels(base="student", sft="student-sft")

    def answer(number: int, body: Body) -> Answer:
        return completion(ANSWERS["base"], model=body["model"], usage=(3, 50))

    with teacher_server(answer) as server:
        lab.with_eval(student=EvalStudent(base_url=server.url, models=models), variants=("base", "sft"))
        out = lab.run()
    assert "sft wrote the very texts of base, all 6: one model answered for both" in out
    assert metrics(lab, "sft")["same_texts_as"] == ["base"]
    assert "wrote the very texts of base" in (lab.run_dir.path / "eval/report.html").read_text()


def test_run_tells_what_servers_gave_away_in_the_report_too(lab: Lab) -> None:
    with teacher_server(completion(ANSWERS["base"], model="gemma", usage=None)) as server:
        student = EvalStudent(base_url=server.url, models=StudentModels(base="student"))
        lab.with_eval(student=student, variants=("base",))
        told = lab.run()
    line = "6 of 6 replies of student are signed by another model, 'gemma'"
    assert f"eval: eval.student: {line}" in told
    # the journal is enough
    assert f"eval: eval.student: {line}" in lab.run()
    assert read_json(lab.run_dir.path / "eval/done.json")["summary"]["servers"] == [f"eval.student: {line}"]
    assert line.replace("'", "&#39;") in (lab.run_dir.path / "eval/report.html").read_text()


def test_run_without_scikit_learn_says_so_before_anything_is_answered(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    lab.with_judge(base_url="embedded")
    with pytest.raises(RunError, match=r"^phases: scikit-learn is not installed; `pip install 'mbt-lite\[report\]'`$"):
        lab.run()
    assert lab.loaded == []


def test_run_with_vllm_says_that_it_is_missing(lab: Lab) -> None:
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    lab.with_eval(engine="vllm")
    with pytest.raises(ModelError, match=r"eval.engine: vLLM is not installed .*set it to local, or serve"):
        lab.run()


def test_run_takes_2wikis_aliases(lab: Lab, tmp_path: Path) -> None:
    row = {
        "_id": "w1", "type": "comparison", "question": "Which?", "answer": "Lutetia", "answer_id": "Q90",
        "supporting_facts": [["A", 0]], "evidences": [], "context": [["A", ["b."]]],
    }  # fmt: skip
    Path(lab.recipe.data.dev.path).write_text(json.dumps([row]))
    write_jsonl(tmp_path / "aliases.json", [{"Q_id": "Q90", "aliases": ["Paris"], "demonyms": ["Parisian"]}])
    dev = Questions(path=lab.recipe.data.dev.path, layout="2wiki")
    lab.recipe = lab.recipe.model_copy(update={"data": lab.recipe.data.model_copy(update={"dev": dev})})
    lab.with_eval(aliases_path=str(tmp_path / "aliases.json"))
    lab.run()
    assert metrics(lab, "sft")["metrics"]["exact_match"]["mean"] == 1
    lab.with_eval(aliases_path=None)
    lab.run()
    assert metrics(lab, "sft")["metrics"]["exact_match"]["mean"] == 0
