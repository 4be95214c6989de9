"""Expert rows through gen: drafts and forecasts by one student, rows of an earlier run mixed in; a stop is free."""

from pathlib import Path

import pytest
from gen_lab import demo_questions, hand_over, make_recipe, run
from short_traces import write_traces

from mbt_lite.errors import RunError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.generation.decoding import Rollout
from mbt_lite.prompts import completion_text
from mbt_lite.rewards.meta import read_forecast, write_forecast
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import gen

SETTINGS = {"rollouts_per_question": 4}


class Student:
    """Solves every question twice of four times, and foresees it; dies after so many texts."""

    def __init__(self) -> None:
        self.by_text = {one.question: one for one in demo_questions()}
        self.made, self.dies_after = 0, 10**9

    def __call__(self, asked, decoding, wanted):
        for position in sorted(wanted):
            content = asked[position][-1]["content"]
            question = next(one for text, one in self.by_text.items() if f"Question: {text}\n" in content)
            for sample in range(decoding.samples):
                self.made += 1
                if self.made > self.dies_after:
                    raise KeyboardInterrupt
                link, is_right = question.bridges[0], sample % 2
                text = completion_text(f"By {link if is_right else 'chance'}.", question.answer if is_right else "?")
                if "Do not answer" in content:
                    text = completion_text(f"It goes by {link}.", write_forecast([link], 8, 7))
                yield Rollout(position, sample, text, tuple(range(20 + sample)), "stop", 9)


@pytest.fixture
def student(monkeypatch: pytest.MonkeyPatch) -> Student:
    made = Student()
    hand_over(monkeypatch, made)
    return made


def test_drafts_and_forecasts_make_a_row_a_question(student: Student, tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path, "meta_expert", gen=SETTINGS)
    [line, *_] = gen.plan(recipe, RunDir(tmp_path / "run"))
    assert line == "gen: 6 questions, 48 drafts of the student, 0 teacher requests (meta_expert)"
    run(recipe, tmp_path / "run")
    folder = tmp_path / "run/gen"
    assert len(read_jsonl(folder / "rollouts.jsonl")) == len(read_jsonl(folder / "forecasts.jsonl")) == 24
    assert {row["correct"] for row in read_jsonl(folder / "pass_rates.jsonl")} == {2}
    rows = read_jsonl(folder / "traces.jsonl")
    assert {row["kind"] for row in rows} == {"meta_expert"}
    assert {read_forecast(row["completion"][0]["content"]).right_of_8 for row in rows} == {4}
    # right drafts have 21 and 23 tokens
    assert {read_forecast(row["completion"][0]["content"]).tokens for row in rows} == {22}
    assert student.made == 48


def test_a_stop_costs_no_draft_twice(student: Student, tmp_path: Path) -> None:
    recipe, whole, stopped = (
        make_recipe(tmp_path, "meta_expert", gen=SETTINGS),
        tmp_path / "whole",
        tmp_path / "stopped",
    )
    run(recipe, whole)
    student.made, student.dies_after = 0, 30
    with pytest.raises(KeyboardInterrupt):
        run(recipe, stopped)
    before, student.dies_after = student.made, 10**9
    run(recipe, stopped)
    # of the question that was under way, the texts that were not journaled yet
    assert student.made - before <= 48 - 30 + 4
    for name in ("rollouts.jsonl", "forecasts.jsonl", "traces.jsonl"):
        assert read_jsonl(stopped / "gen" / name) == read_jsonl(whole / "gen" / name)


def test_rows_of_an_earlier_run_are_mixed_in_and_held_to(student: Student, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier/traces.jsonl"
    write_traces(earlier, demo_questions()[:40])
    recipe = make_recipe(tmp_path, "meta_expert", gen={**SETTINGS, "replay": str(earlier)})
    run(recipe, tmp_path / "run")
    kinds = [row["kind"] for row in read_jsonl(tmp_path / "run/gen/traces.jsonl")]
    assert kinds.count("mbt_s") == kinds.count("meta_expert") > 3
    assert read_json(tmp_path / "run/gen/done.json")["summary"]["replayed"] == kinds.count("mbt_s")
    earlier.write_text(earlier.read_text().replace("we look", "we peek"))
    with pytest.raises(RunError, match=r"earlier/traces\.jsonl changed since gen finished"):
        run(recipe, tmp_path / "run")
    earlier.unlink()
    with pytest.raises(RunError, match=r"no rows to replay; name the gen/traces\.jsonl of an earlier run"):
        run(recipe, tmp_path / "run")


def test_an_adapter_drafts_and_is_held_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, student = [], Student()
    hand_over(monkeypatch, student)
    from mbt_lite import generation

    monkeypatch.setattr(generation.local, "open_student", lambda model, adapter: loaded.append(adapter) or student)
    folder = tmp_path / "adapter"
    recipe = make_recipe(tmp_path, "meta_expert", gen={**SETTINGS, "student_adapter": str(folder)})
    for act in (gen.plan, lambda made, run_dir: run(made, run_dir.path)):
        with pytest.raises(RunError, match="no adapter to draft with"):
            act(recipe, RunDir(tmp_path / "run"))
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_text("{}")
    run(recipe, tmp_path / "run")
    # once for both
    assert loaded == [folder]
    (folder / "adapter_model.safetensors").write_text("other")
    with pytest.raises(RunError, match=r"adapter_model\.safetensors changed since gen finished"):
        run(recipe, tmp_path / "run")


def test_questions_are_the_same_in_both_prompts(student: Student, tmp_path: Path) -> None:
    seen: dict[str, set[str]] = {"solve": set(), "meta": set()}
    answer = student.__call__

    def spy(asked, decoding, wanted):
        for messages in asked:
            content = messages[-1]["content"]
            kind = "meta" if "Do not answer" in content else "solve"
            seen[kind].add(content.partition("\nDo not")[0].partition("\nThink")[0])
        yield from answer(asked, decoding, wanted)

    recipe = make_recipe(tmp_path, "meta_expert", gen=SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        hand_over(patch, spy)
        run(recipe, tmp_path / "run")
    assert seen["solve"] == seen["meta"]
    assert len(seen["solve"]) == 6
