"""The run folder: what survives a kill, what may be resumed, what is refused."""

import errno
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from begun_run import RECIPE, RESUMABLE, begin, changed, start_stage

from mbt_lite import run_dir as module
from mbt_lite.errors import RunError
from mbt_lite.files import read_json, read_jsonl, write_json, write_text
from mbt_lite.recipe.schema import Gen
from mbt_lite.records import PhaseSpan
from mbt_lite.run_dir import RunDir, flatten

ROOT = Path(__file__).parents[1]


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start Python code in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_fingerprint_is_the_sha_256_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert RunDir(tmp_path / "run").fingerprint([tmp_path / "a"]) == {str(tmp_path / "a"): digest}


def test_fingerprint_names_files_of_the_run_from_its_folder(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_text(tmp_path / name / "sft" / "a", "abc")
    first, second = (
        RunDir(tmp_path / name).fingerprint([tmp_path / name / "sft" / "a"]) for name in ("first", "second")
    )
    assert first == second
    assert list(first) == ["sft/a"]


def test_flatten_gives_dotted_keys() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}


# Recipes of a run


def test_locked_writes_recipe_and_environment_and_open_writes_nothing(tmp_path: Path) -> None:
    run = RunDir.open(tmp_path / "run", RECIPE, RESUMABLE)
    assert not (tmp_path / "run").exists()
    with run.locked("gen"):
        pass
    assert read_json(tmp_path / "run" / "recipe.resolved.json") == RECIPE
    environment = read_json(tmp_path / "run" / "environment.json")
    assert environment["python"].startswith("3.")
    assert environment["cpu_count"] >= 1


def test_open_accepts_the_same_recipe_again(tmp_path: Path) -> None:
    start_stage(tmp_path, "sft")
    assert RunDir.open(tmp_path, RECIPE, RESUMABLE).path == tmp_path


def test_open_refuses_a_change_and_names_key_values_and_stage(tmp_path: Path) -> None:
    start_stage(tmp_path, "gen")
    with pytest.raises(RunError, match=r"`gen\.seed` changed since gen began \(0 -> 1\); use --out .*gen --overwrite"):
        RunDir.open(tmp_path, changed("gen.seed", 1), RESUMABLE)
    assert read_json(tmp_path / "recipe.resolved.json") == RECIPE, "the refused recipe leaves no trace"


def test_open_refuses_a_begun_run_without_its_recipe(tmp_path: Path) -> None:
    with RunDir.open(tmp_path, RECIPE, RESUMABLE).locked("gen", {"a": "0"}):
        (tmp_path / "recipe.resolved.json").unlink()
    RunDir.open(tmp_path, RECIPE, RESUMABLE)
    begin(RunDir(tmp_path), "gen")
    with pytest.raises(RunError, match=r"recipe\.resolved\.json: is gone, .* by which recipe gen began; bring it back"):
        RunDir.open(tmp_path, RECIPE, RESUMABLE)
    RunDir.check(tmp_path, RECIPE, RESUMABLE, redo="gen")
    # a stage that was copied into a folder of its own is gone on from
    shutil.copytree(tmp_path / "gen", tmp_path / "other" / "gen")
    RunDir.open(tmp_path / "other", RECIPE, RESUMABLE)


def test_open_refuses_every_change_at_once(tmp_path: Path) -> None:
    start_stage(tmp_path, "gen")
    with pytest.raises(RunError) as refusal:
        RunDir.open(tmp_path, {**changed("gen.seed", 1), "model": {"name": "big"}}, RESUMABLE)
    assert [line.split("`")[1] for line in str(refusal.value).split("\n")] == ["gen.seed", "model.name"]


def test_open_accepts_a_change_of_a_resumable_key(tmp_path: Path) -> None:
    start_stage(tmp_path, "gen")
    with RunDir.open(tmp_path, changed("gen.batch_size", 8), RESUMABLE).locked("gen"):
        pass
    assert read_json(tmp_path / "recipe.resolved.json")["gen"]["batch_size"] == 8


def test_open_accepts_a_change_for_stages_that_have_not_begun(tmp_path: Path) -> None:
    start_stage(tmp_path, "gen")
    with RunDir.open(tmp_path, changed("sft.epochs", 2.0), RESUMABLE).locked("sft"):
        pass
    assert read_json(tmp_path / "recipe.resolved.json")["sft"]["epochs"] == 2.0


def test_open_refuses_a_new_and_a_vanished_key_of_a_begun_stage(tmp_path: Path) -> None:
    start_stage(tmp_path, "gen")
    with pytest.raises(RunError, match=r"`gen\.kind` changed since gen began \(None -> 'mbt_r'\)"):
        RunDir.open(tmp_path, changed("gen.kind", "mbt_r"), RESUMABLE)
    with pytest.raises(RunError, match=r"`gen\.seed` changed since gen began \(0 -> None\)"):
        RunDir.open(tmp_path, {**RECIPE, "gen": {"batch_size": 4}}, RESUMABLE)


def test_open_goes_on_without_a_key_that_is_gone_and_did_nothing(tmp_path: Path) -> None:
    recipe = {**RECIPE, "grpo": {"reward": {"weights": {"answer": 1.0}}}}
    for weight, is_refused in ((0.0, False), (0.3, True)):
        old = {**RECIPE, "grpo": {"reward": {"weights": {"answer": 1.0, "phases": weight}}}}
        path = tmp_path / str(weight)
        run = RunDir.open(path, old, RESUMABLE)
        with run.locked("grpo"):
            begin(run, "grpo")
        if is_refused:
            with pytest.raises(
                RunError, match=r"`grpo\.reward\.weights\.phases` changed since grpo began \(0\.3 -> None\)"
            ):
                RunDir.open(path, recipe, RESUMABLE)
        else:
            assert RunDir.open(path, recipe, RESUMABLE).path == path


def test_check_refuses_what_open_refuses_and_writes_nothing(tmp_path: Path) -> None:
    start_stage(tmp_path, "gen")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"`gen\.seed` changed since gen began \(0 -> 1\)"):
        RunDir.check(tmp_path, changed("gen.seed", 1), RESUMABLE)
    RunDir.check(tmp_path, changed("gen.batch_size", 8), RESUMABLE)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_open_goes_on_with_a_run_from_before_a_key_was_added(tmp_path: Path) -> None:
    start_stage(tmp_path, "gen")
    words = {**RECIPE["gen"], "trace_words": Gen().model_dump(mode="json")["trace_words"]}
    RunDir.open(tmp_path, {**RECIPE, "gen": words}, RESUMABLE)
    with pytest.raises(RunError, match=r"`gen\.trace_words` changed since gen began"):
        RunDir.open(tmp_path, {**RECIPE, "gen": {**words, "trace_words": [1, 2]}}, RESUMABLE)


def test_check_accepts_a_folder_that_is_not_there(tmp_path: Path) -> None:
    RunDir.check(tmp_path / "new", RECIPE, RESUMABLE)
    assert not (tmp_path / "new").exists()


def test_check_leaves_out_the_stages_that_are_redone(tmp_path: Path) -> None:
    for stage in ("gen", "sft", "eval"):
        start_stage(tmp_path, stage)
    RunDir.check(tmp_path, changed("sft.epochs", 2.0), RESUMABLE, redo="sft")
    with pytest.raises(RunError, match=r"`sft\.epochs` changed since sft began"):
        RunDir.check(tmp_path, changed("sft.epochs", 2.0), RESUMABLE, redo="grpo")
    with pytest.raises(RunError, match=r"`gen\.seed` changed since gen began"):
        RunDir.check(tmp_path, changed("gen.seed", 1), RESUMABLE, redo="sft")


# Stages


def test_is_done_needs_the_mark_and_the_same_inputs(tmp_path: Path) -> None:
    run, traces = RunDir(tmp_path), tmp_path / "traces.jsonl"
    traces.write_text("{}\n")
    begin(run, "sft")
    assert not run.is_done("sft", run.fingerprint([traces]))
    run.mark_done("sft", run.fingerprint([traces]), {"rows": 1})
    assert run.is_done("sft", run.fingerprint([traces]))
    assert read_json(tmp_path / "sft" / "done.json")["summary"] == {"rows": 1}


def test_is_done_refuses_a_stage_whose_files_are_gone(tmp_path: Path) -> None:
    run = start_stage(tmp_path, "gen")
    rows = run.stage_dir("gen") / "rows.jsonl"
    run.mark_done("gen", {}, {}, [rows])
    assert run.is_done("gen", {})
    rows.unlink()
    with pytest.raises(RunError, match=r"rows\.jsonl: is gone; bring it back, run `mbt-lite gen --overwrite`"):
        run.is_done("gen", {})


def test_is_done_refuses_stale_inputs_and_names_them(tmp_path: Path) -> None:
    run, traces = RunDir(tmp_path), tmp_path / "traces.jsonl"
    traces.write_text("{}\n")
    run.mark_done("sft", run.fingerprint([traces]), {})
    traces.write_text('{"more": 1}\n')
    with pytest.raises(
        RunError, match=r"traces\.jsonl changed since sft finished; run `mbt-lite sft` with --overwrite"
    ):
        run.is_done("sft", run.fingerprint([traces]))


def test_set_aside_moves_a_stage_and_those_after_it(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for stage in ("gen", "sft", "eval"):
        begin(run, stage)
    moved = run.set_aside("sft")
    assert [path.name.partition("-")[0] for path in moved] == ["sft", "eval"]
    assert all(read_jsonl(path / "rows.jsonl") == [{"id": 1}] for path in moved)
    assert [stage for stage in module.STAGES if run.has_begun(stage)] == ["gen"]


def test_set_aside_twice_keeps_both(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for _ in range(2):
        begin(run, "sft")
        run.set_aside("sft")
    assert len(list((tmp_path / "replaced").iterdir())) == 2
    assert run.set_aside("sft") == []


def test_stage_dir_refuses_what_is_no_stage(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="train"):
        RunDir(tmp_path).stage_dir("train")


def test_a_lock_alone_is_no_beginning(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with run.locked("gen") as folder:
        assert folder == tmp_path / "gen"
        assert not run.has_begun("gen")


def test_what_a_failed_start_leaves_is_no_beginning(tmp_path: Path) -> None:
    run = RunDir.open(tmp_path, RECIPE, RESUMABLE)
    with run.locked("gen", {"train.jsonl": "a"}) as folder:
        (folder / "replies.jsonl").touch()
        (folder / "checkpoints").mkdir()
        write_json(folder / "usage.json", {})
    assert not run.has_begun("gen")
    # another recipe and other inputs may begin
    with RunDir.open(tmp_path, changed("gen.seed", 1), RESUMABLE).locked("gen", {"train.jsonl": "b"}):
        pass
    assert read_json(tmp_path / "gen/inputs.json") == {"train.jsonl": "b"}


def test_locked_refuses_other_inputs_and_changes_nothing(tmp_path: Path) -> None:
    run = RunDir.open(tmp_path, RECIPE, RESUMABLE)
    inputs = {"train.jsonl": "a", "hub:owner/set": "b"}
    with run.locked("gen", inputs):
        begin(run, "gen")
    other = RunDir.open(tmp_path, changed("gen.batch_size", 8), RESUMABLE)
    for wrong in ({**inputs, "train.jsonl": "c"}, {"hub:owner/set": "b"}, {**inputs, "dev.jsonl": "d"}):
        name = "dev" if "dev.jsonl" in wrong else "train"
        with pytest.raises(RunError, match=rf"{name}\.jsonl changed since gen began"), other.locked("gen", wrong):
            pytest.fail("the block ran")
    assert read_json(tmp_path / "gen/inputs.json") == inputs
    assert read_json(tmp_path / "recipe.resolved.json") == RECIPE
    with other.locked("gen", inputs):
        assert read_json(tmp_path / "recipe.resolved.json")["gen"]["batch_size"] == 8


def test_locked_looks_again_at_what_began_after_the_folder_was_opened(tmp_path: Path) -> None:
    late = RunDir.open(tmp_path, changed("gen.seed", 1), RESUMABLE)
    start_stage(tmp_path, "gen")
    with pytest.raises(RunError, match=r"`gen.seed` changed since gen began"), late.locked("sft"):
        pytest.fail("the block ran")
    assert read_json(tmp_path / "recipe.resolved.json") == RECIPE


def test_check_outputs_tells_what_is_damaged_or_gone(tmp_path: Path) -> None:
    run, traces = RunDir(tmp_path), tmp_path / "gen" / "traces.jsonl"
    run.check_outputs("gen")
    write_text(traces, "{}\n{}\n")
    run.mark_done("gen", {}, {}, [traces])
    run.check_outputs("gen")
    write_text(traces, "{}\n")
    with pytest.raises(RunError, match=r"traces\.jsonl: is not the file that gen wrote: damaged, or edited; bring"):
        run.check_outputs("gen")
    traces.unlink()
    with pytest.raises(RunError, match=r"traces\.jsonl: is gone"):
        run.check_outputs("gen")


def test_fingerprint_source_is_of_the_file_or_of_the_records(tmp_path: Path) -> None:
    run, path = RunDir(tmp_path), tmp_path / "q.jsonl"
    path.write_text("{}\n")
    assert run.fingerprint_source(str(path), lambda: pytest.fail("read")) == run.fingerprint([path])
    one, two = PhaseSpan("plan", 0, 1), PhaseSpan("plan", 0, 2)
    first, again, other = (run.fingerprint_source("hub:a/b", lambda r=r: [r]) for r in (one, one, two))
    assert first == again
    assert first.keys() == other.keys() == {"hub:a/b"}
    assert first != other


def test_locked_of_a_file_in_the_way_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(NotADirectoryError, match="run/gen"), RunDir(tmp_path / "run").locked("gen"):
        pytest.fail("the block ran")


def test_locked_where_there_are_no_locks_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Lustre without -o flock, some FUSE mounts
    def flock(file: object, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(OSError, match=r"not implemented: .*run/gen"), RunDir(tmp_path / "run").locked("gen"):
        pytest.fail("the block ran")


def test_locked_holds_against_another_process_until_it_dies(tmp_path: Path) -> None:
    process = start(
        """
        import sys, time
        from pathlib import Path
        from mbt_lite.run_dir import RunDir

        with RunDir(Path(sys.argv[1])).locked("gen"):
            print("locked", flush=True)
            time.sleep(60)
        """,
        tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    run = RunDir(tmp_path)
    with (
        pytest.raises(RunError, match="another process is running this stage; wait for it or use --out"),
        run.locked("gen"),
    ):
        pass
    with run.locked("sft"):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 5
    while True:
        try:
            with run.locked("gen"):
                break
        except RunError:
            assert time.monotonic() < deadline, "the lock of a dead process is still held"


def test_check_knows_the_keys_of_older_folders_by_their_names_of_today(tmp_path: Path) -> None:
    old = changed("gen.student_model", "tiny") | {"eval": {"student_models": {"base": "m"}}}
    run = RunDir.open(tmp_path, old, RESUMABLE)
    with run.locked("eval"):
        begin(run, "eval")
    renamed = {"gen.student_model": "gen.student.model", "eval.student_models": "eval.student.models"}
    new = changed("gen.student", {"model": "tiny"}) | {"eval": {"student": {"models": {"base": "m"}}}}
    RunDir.check(tmp_path, new, RESUMABLE, renamed)
    with pytest.raises(RunError, match=r"`gen\.student\.model` changed since eval began \('tiny' -> 'other'\)"):
        RunDir.check(tmp_path, new | {"gen": changed("gen.student", {"model": "other"})["gen"]}, RESUMABLE, renamed)
