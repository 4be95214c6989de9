import dataclasses
import importlib.util
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from teacher_server import Answer, Body, completion, refusal, teacher_server

from mbt_lite.errors import DataError, ModelError, RunError
from mbt_lite.model.generate import Rollout
from mbt_lite.recipe.schema import Aes, Data, Eval, Judge, Model, Questions, Recipe, StudentModels
from mbt_lite.records import Document, Message, Question, to_row
from mbt_lite.run_dir import RunDir, read_json, read_jsonl, write_jsonl
from mbt_lite.stages import eval as stage

ANSWERS = {
    "base": "I do not know.",
    "metacognitive": "<think>It could be Paris. No, Rome.</think><answer>Rome</answer>",
    "sft": "<think>It must be Paris.</think><answer>Paris</answer>",
}


class WordTokenizer:
    """A chat template whose tokens are words."""

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[str]]:
        return {"input_ids": text.split()}

    def apply_chat_template(self, messages: list[Message], *, add_generation_prompt: bool, tokenize: bool) -> Any:
        text = " ".join(message["content"] for message in messages) + " assistant:"
        return text.split() if tokenize else text


@dataclasses.dataclass
class Lab:
    """A run folder with a stand-in student that remembers what it was asked: (variant, prompt) pairs."""

    recipe: Recipe
    run_dir: RunDir
    loaded: list[str]
    generated: list[tuple[str, str]]
    fail_after: int | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def run(self, *, is_terminal: bool = False) -> str:
        console = Console(file=io.StringIO(), width=120, force_terminal=is_terminal)
        stage.run(self.recipe, self.run_dir, console)
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    def with_eval(self, **changes: Any) -> None:
        changed = self.recipe.eval.model_copy(update=changes)
        self.recipe = self.recipe.model_copy(update={"eval": changed})

    def with_judge(self, **changes: Any) -> None:
        self.recipe = self.recipe.model_copy(update={"judge": Judge(**changes)})

    def generate(self, student: str, asked: Sequence[list[Message]], **settings: Any) -> Iterator[Rollout]:
        self.settings = settings
        for index in reversed(sorted(settings["wanted"])):
            if self.fail_after is not None and len(self.generated) >= self.fail_after:
                raise KeyboardInterrupt
            variant = "metacognitive" if asked[index][0]["role"] == "system" else student
            self.generated.append((variant, asked[index][-1]["content"]))
            text = ANSWERS[variant]
            for sample in range(settings["samples"]):
                yield Rollout(index, sample, text, tuple(range(len(text.split()))), "stop", 9)


def question(number: int, n_words: int = 5) -> Question:
    return Question(
        question_id=f"q{number}",
        question=f"Which city is number {number}?",
        answer="Paris",
        aliases=(),
        documents=(Document("Cities", "word " * n_words, True), Document("Rivers", "filler " * 300, False)),
        source="mbt",
    )


def write_adapter(run_dir: RunDir, name: str) -> None:
    folder = run_dir.stage_dir(name) / "adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(name.encode())


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    dev = tmp_path / "dev.jsonl"
    write_jsonl(dev, (to_row(question(number)) for number in range(6)))
    questions = Questions(path=str(dev), layout="mbt")
    recipe = Recipe(
        model=Model(name="tiny"),
        data=Data(train=questions, dev=questions, max_prompt_tokens=2000),
        eval=Eval(variants=("base", "metacognitive", "sft"), bootstrap_samples=50),
    )
    run_dir = RunDir.open(tmp_path / "run", recipe.model_dump(mode="json"), frozenset())
    write_adapter(run_dir, "sft")
    lab = Lab(recipe, run_dir, [], [])

    def load_student(model: Model, adapter: Path | None = None) -> str:
        lab.loaded.append(adapter.parent.name if adapter else "base")
        return lab.loaded[-1]

    monkeypatch.setattr("mbt_lite.model.student.load_tokenizer", lambda model: WordTokenizer())
    monkeypatch.setattr("mbt_lite.model.student.load_student", load_student)
    monkeypatch.setattr("mbt_lite.model.generate.generate", lab.generate)
    # the images of a report take seconds; tests/report draws them
    monkeypatch.setattr("mbt_lite.report.html.write_images", lambda folder, plots: None)
    return lab


def metrics(lab: Lab, variant: str) -> dict[str, Any]:
    return read_json(lab.run_dir.path / "eval" / variant / "metrics.json")  # type: ignore[no-any-return]


def test_run_scores_every_variant(lab: Lab) -> None:
    lab.run()
    found = {
        variant: [
            metrics(lab, variant)["metrics"][name]["mean"]
            for name in ("exact_match", "answered", "answer_inclusive_error")
        ]
        for variant in ANSWERS
    }
    assert found == {"base": [0, 0, 0], "metacognitive": [0, 1, 1], "sft": [1, 1, 0]}
    assert metrics(lab, "sft")["n_questions"] == 6
    rows = read_jsonl(lab.run_dir.path / "eval" / "sft" / "predictions.jsonl")
    assert [row["question_id"] for row in rows] == [f"q{number}" for number in range(6)]


def test_run_loads_the_untrained_student_once_for_its_two_variants(lab: Lab) -> None:
    lab.run()
    assert lab.loaded == ["base", "sft"]


def test_run_prints_the_table_writes_the_report_and_marks_done(lab: Lab) -> None:
    printed = lab.run()
    assert "exact match" in printed
    assert "n=6" in printed
    assert printed.rstrip().endswith("report.html")
    assert "Which city is number 3?" not in printed
    assert (lab.run_dir.path / "eval" / "report.html").read_text().startswith("<!doctype html>")
    mark = read_json(lab.run_dir.path / "eval" / "done.json")
    assert mark["summary"] == {"n_questions": 6, "n_left_out": 0, "n_trimmed": 0}
    assert {Path(name).name for name in mark["inputs"]} == {
        "dev.jsonl", "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip


def test_run_says_each_quarter_of_a_variant_where_there_is_no_terminal(lab: Lab) -> None:
    lines = [line for line in lab.run().splitlines() if line.startswith("eval: sft completions")]
    assert lines == [f"eval: sft completions: {n_done} of 6" for n_done in (0, 2, 3, 5, 6)]


def test_run_moves_a_bar_on_a_terminal(lab: Lab) -> None:
    printed = lab.run(is_terminal=True)
    assert "6/6" in printed
    assert "completions: 6 of 6" not in printed


def test_run_says_nothing_of_completions_that_are_there(lab: Lab) -> None:
    lab.run()
    assert "completions:" not in lab.run()


def test_run_samples_as_the_recipe_says(lab: Lab) -> None:
    lab.with_eval(temperature=0.6, top_p=0.95, top_k=20, max_completion_tokens=77, batch_size=5, seed=3)
    lab.run()
    assert lab.settings == {
        "samples": 1, "temperature": 0.6, "top_p": 0.95, "top_k": 20,
        "max_completion_tokens": 77, "batch_size": 5, "seed": 3, "wanted": frozenset(range(6)),
    }  # fmt: skip
    assert stage.plan(lab.recipe, lab.run_dir)[0].endswith("temperature 0.6, top_p 0.95, top_k 20")


def test_run_and_plan_refuse_a_question_without_scoring_rules_before_anything_is_loaded(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbt_lite.model.student.load_tokenizer", lambda model: pytest.fail("loaded a tokenizer"))
    strange = dataclasses.replace(question(1), source="mine")
    write_jsonl(Path(lab.recipe.data.dev.path), [to_row(question(0)), to_row(strange)])
    message = r"dev.jsonl: question q1: question source: no scoring rules \(got 'mine'\); use one of \['2wiki', "
    with pytest.raises(DataError, match=message):
        lab.run()
    with pytest.raises(DataError, match=message):
        stage.plan(lab.recipe, lab.run_dir)
    assert lab.loaded == []


def test_run_gives_no_aes_to_base_and_a_reason_where_it_is_undefined(lab: Lab) -> None:
    lab.run()
    assert metrics(lab, "base")["aes"] is None
    assert metrics(lab, "sft")["aes"]["mean"] is None
    assert "accuracy" in metrics(lab, "sft")["aes"]["undefined_reason"]


def test_run_without_base_says_why_it_has_no_aes(lab: Lab) -> None:
    lab.with_eval(variants=("sft",))
    lab.run()
    aes = metrics(lab, "sft")["aes"]
    assert (aes["mean"], aes["against"]) == (None, "base")
    assert aes["undefined_reason"] == "variant base was not evaluated, so there is nothing to compare with"


def test_run_when_done_loads_no_model_and_scores_anew(lab: Lab) -> None:
    lab.run()
    lab.loaded.clear()
    predictions = lab.run_dir.path / "eval" / "sft" / "predictions.jsonl"
    before = predictions.read_bytes()
    predictions.unlink()
    assert "exact match" in lab.run()
    assert lab.loaded == []
    assert predictions.read_bytes() == before


def test_run_generates_only_what_is_missing(lab: Lab) -> None:
    lab.run()
    journal = lab.run_dir.path / "eval" / "sft" / "completions.jsonl"
    kept = journal.read_bytes().splitlines(keepends=True)[:3]
    journal.write_bytes(b"".join(kept) + b'{"question_id": "q')
    lab.generated.clear()
    lab.loaded.clear()
    lab.run()
    assert lab.loaded == ["sft"]
    ids = [row["question_id"] for row in read_jsonl(journal)]
    assert sorted(ids) == [f"q{number}" for number in range(6)]
    assert ids[:3] == [json.loads(line)["question_id"] for line in kept]
    assert len(lab.generated) == 3


def test_run_goes_on_after_an_interruption(lab: Lab) -> None:
    lab.fail_after = 8
    with pytest.raises(KeyboardInterrupt):
        lab.run()
    assert not (lab.run_dir.path / "eval" / "done.json").exists()
    lab.fail_after = None
    lab.run()
    assert len(lab.generated) == len(set(lab.generated)) == 18


def test_run_names_a_missing_adapter_and_the_command(lab: Lab) -> None:
    lab.with_eval(variants=("base", "grpo"))
    with pytest.raises(RunError, match=r"grpo.adapter: no adapter for variant grpo .*run `mbt-lite grpo` first"):
        lab.run()
    assert lab.loaded == []


@pytest.mark.parametrize("is_done", [True, False], ids=["done", "begun"])
def test_run_refuses_inputs_that_changed(lab: Lab, is_done: bool) -> None:
    lab.run()
    if not is_done:
        (lab.run_dir.path / "eval" / "done.json").unlink()
    (lab.run_dir.stage_dir("sft") / "adapter" / "adapter_model.safetensors").write_bytes(b"another")
    with pytest.raises(RunError, match=r"adapter_model.safetensors changed since eval .*--overwrite"):
        lab.run()


def test_run_leaves_a_question_that_cannot_fit_out_of_all_variants(lab: Lab) -> None:
    dev = Path(lab.recipe.data.dev.path)
    write_jsonl(dev, [to_row(question(0)), to_row(question(1, n_words=5000)), to_row(question(2))])
    printed = lab.run()
    assert "left out of all variants: 1 question, prompt longer than 2000 tokens" in printed
    assert read_jsonl(lab.run_dir.path / "eval" / "left_out.jsonl") == [
        {"question_id": "q1", "reason": "prompt longer than 2000 tokens even without distractors"}
    ]
    for variant in ANSWERS:
        assert metrics(lab, variant)["n_questions"] == 2
        assert len(metrics(lab, variant)["left_out"]) == 1


def test_run_drops_the_same_distractors_for_all_variants(lab: Lab) -> None:
    data = lab.recipe.data.model_copy(update={"max_prompt_tokens": 400})
    lab.recipe = lab.recipe.model_copy(update={"data": data})
    lab.run()
    assert read_json(lab.run_dir.path / "eval" / "done.json")["summary"]["n_trimmed"] == 6
    assert not any("filler" in prompt for _, prompt in lab.generated)
    prompts = {variant: {prompt for asked, prompt in lab.generated if asked == variant} for variant in ANSWERS}
    assert prompts["base"] == prompts["sft"] == prompts["metacognitive"]


def test_run_refuses_questions_of_which_none_fits(lab: Lab) -> None:
    data = lab.recipe.data.model_copy(update={"max_prompt_tokens": 3})
    lab.recipe = lab.recipe.model_copy(update={"data": data})
    with pytest.raises(DataError, match=r"dev.jsonl: no question fits into `data.max_prompt_tokens` \(got 3\)"):
        lab.run()


def test_plan_counts_what_is_to_do_and_loads_nothing(lab: Lab) -> None:
    lab.with_eval(variants=("base", "grpo"))
    write_jsonl(lab.run_dir.path / "eval" / "base" / "completions.jsonl", [{"question_id": "q0"}])
    lines = stage.plan(lab.recipe, lab.run_dir)
    assert lines[0].startswith("eval: 6 questions from ")
    assert lines[0].endswith("greedy")
    assert lines[1] == "eval: base: 5 completions to make, 1 there"
    assert lines[2].startswith("eval: grpo: 6 completions to make, 0 there; waits for ")
    assert lab.loaded == []


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


def test_run_takes_aes_against_the_variant_and_constants_of_the_recipe(lab: Lab) -> None:
    lab.with_eval(aes=Aes(base="sft", alpha=2.0))
    lab.run()
    assert metrics(lab, "sft")["aes"] is None
    aes = metrics(lab, "base")["aes"]
    # base writes 5 words where sft writes 5: no length is saved, and all accuracy is lost
    tokens = [metrics(lab, variant)["metrics"]["completion_tokens"]["mean"] for variant in ("base", "sft")]
    assert aes["mean"] == pytest.approx(2 * (tokens[1] - tokens[0]) / tokens[1] - 5)
    assert (aes["against"], aes["alpha"], aes["beta"], aes["gamma"]) == ("sft", 2.0, 3.0, 5.0)


def test_run_keeps_the_questions_as_they_were_asked(lab: Lab) -> None:
    lab.run()
    kept = read_jsonl(lab.run_dir.path / "eval" / "questions.jsonl")
    assert kept == json.loads(json.dumps([to_row(question(number)) for number in range(6)]))


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
        return completion(ANSWERS["metacognitive" if len(body["messages"]) == 2 else variant])

    with teacher_server(answer) as server:
        lab.with_eval(student_base_url=server.url, student_models=StudentModels(**models))
        assert stage.plan(lab.recipe, lab.run_dir)[1].endswith(f"0 there, by student at {server.url}")
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
