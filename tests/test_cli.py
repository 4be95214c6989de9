"""The command line: exit codes, what is printed where, and what each command asks of the stages."""

import errno
import importlib
import json
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mbt_lite import __version__, cli
from mbt_lite.errors import DataError
from mbt_lite.files import Journal, read_json, read_jsonl
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import STAGES, RunDir

ROOT = Path(__file__).parents[1]
RECIPE = """\
model: {name: tiny}
data: {train: {path: train.jsonl},
  dev: {path: dev.jsonl}}
lora: {rank: 4}
"""


class Calls(list[tuple[str, str, int]]):
    """What the stand-in stages were asked: (verb, stage, lora.rank).

    `failure` is what the next `run` raises; `unplannable` is the stage whose `plan` refuses.
    """

    failure: BaseException | None = None
    unplannable: str | None = None


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Stand-ins for the stages: they note the call; `run` writes one row into the stage's folder."""
    (tmp_path / "a.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    noted = Calls()

    def stage_module(stage: str) -> types.ModuleType:
        module = types.ModuleType(f"mbt_lite.stages.{stage}")

        def run(recipe: Recipe, run_dir: RunDir, console: object) -> None:
            noted.append(("run", stage, recipe.lora.rank))
            if noted.failure is not None:
                raise noted.failure
            with run_dir.locked(stage) as folder, Journal(folder / "rows.jsonl") as journal:
                journal.append({"rank": recipe.lora.rank})

        def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
            noted.append(("plan", stage, recipe.lora.rank))
            if noted.unplannable == stage:
                raise DataError("train.jsonl: 3 questions are too few")
            return [f"{stage}: would run in {run_dir.path}"]

        module.__dict__.update(run=run, plan=plan)
        return module

    for stage in STAGES:
        monkeypatch.setitem(sys.modules, f"mbt_lite.stages.{stage}", stage_module(stage))
    return noted


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


def ranks_of(stage: str, run: str = "runs/a") -> list[int]:
    return [row["rank"] for row in read_jsonl(Path(run) / stage / "rows.jsonl")]


# Stages


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_command_runs_its_stage_in_the_default_folder(stage: str, calls: Calls) -> None:
    result = invoke(stage, "a.yaml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert calls == [("run", stage, 4)]
    assert ranks_of(stage) == [4]
    assert read_json(Path("runs/a/recipe.resolved.json"))["lora"]["rank"] == 4


def test_run_calls_all_stages_in_order_and_says_where(calls: Calls) -> None:
    result = invoke("run", "a.yaml", "--out", "elsewhere")
    assert calls == [(verb, stage, 4) for verb in ("plan", "run") for stage in ("gen", "sft", "grpo", "eval")]
    assert result.stdout.endswith("all stages are done: elsewhere\n")


def test_run_stops_at_the_stage_that_fails(calls: Calls) -> None:
    calls.failure = DataError("train.jsonl: no such file; give the path of a question file")
    result = invoke("run", "a.yaml")
    assert result.exit_code == 2
    assert result.stderr == "train.jsonl: no such file; give the path of a question file\n"
    assert [stage for verb, stage, _ in calls if verb == "run"] == ["gen"]


def test_run_starts_nothing_where_a_later_stage_is_refused(calls: Calls) -> None:
    calls.unplannable = "grpo"
    result = invoke("run", "a.yaml")
    assert (result.exit_code, result.stderr) == (2, "train.jsonl: 3 questions are too few\n")
    assert all(verb == "plan" for verb, *_ in calls)
    assert not Path("runs").exists()


def test_set_overrides_the_recipe(calls: Calls) -> None:
    assert invoke("gen", "a.yaml", "--set", "lora.rank=8", "--set", "model.name=other").exit_code == 0
    assert calls == [("run", "gen", 8)]


def test_a_stage_command_refuses_a_changed_recipe(calls: Calls) -> None:
    invoke("sft", "a.yaml")
    result = invoke("sft", "a.yaml", "--set", "lora.rank=8")
    assert result.exit_code == 2
    assert result.stderr.startswith("runs/a: `lora.rank` changed since sft began (4 -> 8); ")
    assert result.stderr.count("\n") == 1
    assert len(calls) == 1


def test_a_stage_command_accepts_a_resumable_change(calls: Calls) -> None:
    invoke("sft", "a.yaml")
    assert invoke("sft", "a.yaml", "--set", "sft.save_every_steps=1").exit_code == 0
    assert len(calls) == 2


# --overwrite


def test_overwrite_sets_the_stage_and_what_follows_aside_and_says_where(calls: Calls) -> None:
    invoke("run", "a.yaml")
    result = invoke("sft", "a.yaml", "--overwrite", "--set", "lora.rank=8")
    assert result.exit_code == 0
    assert [line.partition("-")[0] for line in result.stdout.splitlines()] == [
        f"set aside: runs/a/replaced/{stage}" for stage in ("sft", "grpo", "eval")
    ]
    assert (ranks_of("gen"), ranks_of("sft"), ranks_of("grpo")) == ([4], [8], [])


def test_overwrite_refuses_a_change_of_an_earlier_stage_before_anything_moves(calls: Calls) -> None:
    invoke("run", "a.yaml")
    result = invoke("sft", "a.yaml", "--overwrite", "--set", "gen.seed=1")
    assert result.exit_code == 2
    assert "`gen.seed` changed since gen began (0 -> 1)" in result.stderr
    assert ranks_of("sft") == [4]
    assert not Path("runs/a/replaced").exists()


def test_overwrite_refuses_to_move_a_stage_that_is_running(calls: Calls) -> None:
    invoke("run", "a.yaml")
    with RunDir(Path("runs/a")).locked("eval"):
        result = invoke("sft", "a.yaml", "--overwrite")
    assert result.exit_code == 2
    assert "another process is running this stage" in result.stderr
    assert ranks_of("sft") == [4]


def test_run_overwrite_begins_anew_from_gen(calls: Calls) -> None:
    invoke("run", "a.yaml")
    assert invoke("run", "a.yaml", "--overwrite", "--set", "gen.seed=1").exit_code == 0
    assert len(list(Path("runs/a/replaced").iterdir())) == 4
    assert ranks_of("eval") == [4]


def test_overwrite_of_nothing_is_a_plain_run(calls: Calls) -> None:
    result = invoke("gen", "a.yaml", "--overwrite")
    assert (result.exit_code, result.stdout) == (0, "")


# --dry-run


def test_dry_run_prints_keys_and_plan_and_writes_nothing(calls: Calls) -> None:
    result = invoke("run", "a.yaml", "--dry-run")
    assert result.stdout.splitlines() == [
        "run folder: runs/a",
        'model.name: "tiny"',
        'data.train.path: "train.jsonl"',
        'data.dev.path: "dev.jsonl"',
        "lora.rank: 4",
        *(f"{stage}: would run in runs/a" for stage in STAGES),
    ]
    assert calls == [("plan", stage, 4) for stage in STAGES]
    assert [path.name for path in Path().iterdir()] == ["a.yaml"]


def test_dry_run_refuses_a_changed_recipe_and_writes_nothing(calls: Calls) -> None:
    invoke("gen", "a.yaml")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    result = invoke("gen", "a.yaml", "--dry-run", "--set", "gen.seed=1")
    assert result.exit_code == 2
    assert "`gen.seed` changed since gen began" in result.stderr
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_dry_run_of_overwrite_says_what_would_be_set_aside(calls: Calls) -> None:
    invoke("run", "a.yaml")
    result = invoke("grpo", "a.yaml", "--dry-run", "--overwrite", "--set", "lora.rank=4", "--set", "grpo.steps=3")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-3:] == [
        "grpo: would be set aside",
        "eval: would be set aside",
        "grpo: would run in runs/a",
    ]
    assert ranks_of("grpo") == [4]


# Mistakes, bugs, interruptions


def test_a_recipe_with_five_faults_reports_all_five_and_exits_2(calls: Calls) -> None:
    Path("b.yaml").write_text(
        RECIPE + "sft:\n  epochs: many\n  epoch: 2\ngrpo:\n  clip_low: 2\neval:\n  variants: [bas]\n"
    )
    result = invoke("run", "b.yaml", "--set", "lora.rnak=4")
    assert result.exit_code == 2
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [
        "b.yaml:6",
        "b.yaml:7",
        "b.yaml:9",
        "b.yaml:11",
        "--set lora.rnak=4",
    ]
    assert result.stdout == ""
    assert not Path("runs").exists()


@pytest.mark.parametrize("out", ["a.yaml", "a.yaml/below"])
def test_a_run_folder_that_is_a_file_is_one_line_and_exit_2(out: str, calls: Calls) -> None:
    result = invoke("gen", "a.yaml", "--out", out)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{out}/gen: not a directory (")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a bug"), EOFError("a bug"), RuntimeError("a bug")], ids=repr)
def test_a_bug_keeps_its_traceback_and_exits_1(error: Exception, calls: Calls) -> None:
    calls.failure = error
    result = invoke("gen", "a.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert result.stderr.endswith(f"{type(error).__name__}: a bug\n")


REFUSED = {
    "full": (OSError(errno.ENOSPC, "No space left on device", "runs/a/x"), "runs/a/x: no space left", "make room"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), "this machine: disk quota exceeded", "make room"),
    "rights": (PermissionError(errno.EACCES, "Permission denied", "/cache"), "/cache: permission denied", "XDG_CACHE_"),
    "read-only": (OSError(errno.EROFS, "Read-only file system", "/cache"), "/cache: read-only file system", "--out"),
    "locks": (OSError(errno.ENOSYS, "Function not implemented"), "this machine: function not", "no locks"),
    "renamed": (OSError(errno.EXDEV, "Invalid link", "a", None, "b"), "a -> b: invalid link (OSError)", "goes on"),
    "files": (OSError(errno.EMFILE, "Too many open files"), "this machine: too many open files", "ulimit"),
    "network": (ConnectionResetError("reset by peer"), "this machine: reset by peer (ConnectionReset", "goes on"),
    "torch": (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), "this", "make room"),
    "safetensors": (
        ValueError("I/O error: No space left on device (os error 28)"),
        "this machine: no space left on device",
        "make room",
    ),
    "safetensors, a file too large": (
        ValueError("I/O error: File too large (os error 27)"),
        "this machine: file too large",
        "make room",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_machine_refuses_is_one_line_with_a_cure(case: str, calls: Calls) -> None:
    calls.failure, begin, cure = REFUSED[case]
    result = invoke("gen", "a.yaml")
    assert result.exit_code == 2
    assert result.stderr.startswith(begin)
    assert cure in result.stderr
    assert result.stderr.count("\n") == 1


def test_ctrl_c_says_how_to_go_on_and_exits_130(calls: Calls) -> None:
    calls.failure = KeyboardInterrupt()
    result = invoke("gen", "a.yaml")
    assert result.exit_code == 130
    assert result.stderr == ("interrupted; everything finished so far is kept: run the same command to go on\n")


# Other commands


def test_schema_prints_the_json_schema() -> None:
    result = invoke("schema")
    assert result.exit_code == 0
    assert set(json.loads(result.stdout)["properties"]) == set(Recipe.model_fields)


def test_teacher_serves_at_the_given_address(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[str, int]] = []
    module = types.ModuleType("mbt_lite.scripted.server")
    module.__dict__["serve_forever"] = lambda host, port: served.append((host, port))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert invoke("teacher").exit_code == 0
    assert invoke("teacher", "--host", "0.0.0.0", "--port", "9000").exit_code == 0
    assert served == [("127.0.0.1", 8000), ("0.0.0.0", 9000)]


def test_version_is_that_of_the_package() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"mbt-lite {__version__}\n")


def test_help_names_every_command() -> None:
    listed = invoke("--help").stdout
    assert all(f"\n  {command} " in listed for command in (*STAGES, "run", "schema", "teacher"))


USAGE = {
    "no recipe": ("gen",),
    "unknown command": ("train", "a.yaml"),
    "unknown option": ("gen", "a.yaml", "--epochs", "2"),
    "port that is no number": ("teacher", "--port", "x"),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_wrong_call_exits_2_without_a_traceback(case: str, calls: Calls) -> None:
    result = invoke(*USAGE[case])
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_offers_run_and_plan(stage: str) -> None:
    module = importlib.import_module(f"mbt_lite.stages.{stage}")
    assert callable(module.run)
    assert callable(module.plan)


def test_agree_prints_a_line_per_measure(tmp_path: Path) -> None:
    arguments = ["agree", "recipes/demo.yaml", "--out", str(tmp_path)]
    lines = CliRunner().invoke(cli.app, arguments).output.splitlines()
    assert lines[1] == "judge scripted: 96 labelled traces, 576 verdicts, 0 unscored"
    assert lines[2].startswith("accuracy ")
    as_json = json.loads(CliRunner().invoke(cli.app, [*arguments, "--json"]).output)
    assert as_json["agreement"]["accuracy"]["n"] == 96
    assert (tmp_path / "agreement" / "judge_replies.jsonl").exists()


def test_eval_judge_repeat_sets_the_judges_repeats(tmp_path: Path) -> None:
    arguments = ["eval", "recipes/demo.yaml", "--out", str(tmp_path), "--dry-run", "--judge-repeat", "2"]
    assert "judge.repeats: 2" in CliRunner().invoke(cli.app, arguments).output.splitlines()
