"""`mbt-lite push` by the real client of the hub, in a process of its own, to a stand-in of its HTTP API."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="needs the hub's client: pip install 'mbt-lite[train]'")

from hub_server import TOKEN, Hub, hub_server
from huggingface_hub import DatasetCard, ModelCard, SpaceCard
from typer.testing import CliRunner

from mbt_lite import cli
from mbt_lite.export.card import Origin, model_card
from mbt_lite.files import write_jsonl, write_text
from mbt_lite.recipe import resolved, schema
from mbt_lite.records import Trace, to_row
from mbt_lite.run_dir import RunDir

ROOT = Path(__file__).parents[2]
KINDS = {"adapter": "model", "merged": "model", "traces": "dataset", "report": "space"}
MUSIQUE = {
    "id": "2hop__1_2", "question": "Who?", "answer": "Ann Lee", "answer_aliases": [], "answerable": True,
    "paragraphs": [{"idx": 0, "title": "Cat", "paragraph_text": "One.", "is_supporting": True}],
}  # fmt: skip


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server() as hub:
        yield hub


def make_run(folder: Path, train: str = str(ROOT / "data_samples/demo_train.jsonl"), base: str = "own/base") -> Path:
    """Make a run that is through: traces by rule and by a model, two exports, a report with plots."""
    dev = ROOT / "data_samples/demo_dev.jsonl"
    data = schema.Data(train=schema.Questions(path=train), dev=schema.Questions(path=str(dev)))
    recipe = schema.Recipe(model=schema.Model(name=base), data=data, teacher=schema.Teacher(api_key_env="MY_KEY"))
    run_dir = RunDir.open(folder, resolved(recipe), frozenset())
    with run_dir.locked("sft", {}):
        pass
    write_jsonl(folder / "gen/traces.jsonl", [to_row(trace(1, scripted=True)), to_row(trace(2, scripted=False))])
    for form, weights in (("adapter", "adapter_model"), ("merged", "model")):
        made = folder / f"export/sft-{form}"
        card = model_card(run_dir, recipe, "sft", form, Origin(base, "apache-2.0", ""), ["it answers alike"], "chat")
        write_text(made / "README.md", card)
        write_text(made / "config.json", "{}")
        (made / f"{weights}.safetensors").write_bytes(b"\x00weights")
    write_text(folder / "eval/report.html", "<p>a verdict</p>")
    write_text(folder / "eval/report-plots/failures.svg", "<svg/>")
    return folder


def trace(number: int, *, scripted: bool) -> Trace:
    return Trace(
        trace_id=f"q{number}:0", question_id=f"q{number}", kind="mbt_s", rollout_index=None, trace_index=0,
        teacher="scripted" if scripted else "big", scripted=scripted, prompt_version="0", text="so", answer="x",
        prompt=({"role": "user", "content": "?"},), completion=({"role": "assistant", "content": "so x"},),
    )  # fmt: skip


Done = subprocess.CompletedProcess[str]


def look(run: Path, *options: object, **environment: str) -> Done:
    """Push here, as far as it comes without a network."""
    done = CliRunner(env={"HF_TOKEN": "", **environment}).invoke(cli.app, ["push", str(run), *map(str, options)])
    return Done([], done.exit_code, done.stdout, done.stderr)


def send(run: Path, endpoint: str, *options: object, **environment: str) -> Done:
    """Push in a process of its own: the client reads its variables when it is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_HOME": str(run.parent / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_ENDPOINT": endpoint}
    command = [sys.executable, "-m", "mbt_lite", "push", str(run), *map(str, options)]
    settings = kept | own | {"HF_TOKEN": TOKEN} | environment
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)


def refusal(done: Done) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("what", KINDS)
def test_push_sends_files_and_a_card_that_the_hub_takes(what: str, hub: Hub, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    # large files the old way, which a stand-in can take
    done = send(run, hub.url, "--what", what, "--to", "me/thing", HF_HUB_DISABLE_XET="1")
    assert done.returncode == 0, done.stdout + done.stderr
    repo = hub.repos[KINDS[what], "me/thing"]
    assert repo["private"]
    files = repo["files"]
    sent = {
        "adapter": {"config.json", "adapter_model.safetensors"},
        "merged": {"config.json", "model.safetensors"},
        "traces": {"traces.jsonl"},
        "report": {"index.html", "report-plots/failures.svg"},
    }[what]
    assert files.keys() == sent | {"README.md"}
    assert "POST /api/validate-yaml" in hub.asked
    if what == "traces":
        assert files["traces.jsonl"] == (run / "gen/traces.jsonl").read_bytes()
    if what == "adapter":
        assert files["adapter_model.safetensors"] == b"\x00weights"
        assert b"THIS_FOLDER" not in files["README.md"]
        assert b'from_pretrained(base, "me/thing")' in files["README.md"]
    assert f"{hub.url}/" in done.stdout.splitlines()[-1]


def card_of(run: Path, what: str, form: Any, *options: object, **environment: str) -> Any:
    """Give the card that a dry run shows, as the hub's own class reads it."""
    done = look(run, "--what", what, "--to", "me/thing", "--dry-run", *options, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "push: nothing was sent (--dry-run)"
    listing, _, card = done.stdout.partition("---\n")
    assert " bytes  " in listing
    return form("---\n" + card)


def test_dry_run_of_traces_lists_files_and_names_licence_and_rules(tmp_path: Path) -> None:
    card = card_of(make_run(tmp_path / "run"), "traces", DatasetCard)
    assert card.data.license == "apache-2.0"
    assert card.data.size_categories == ["n<1K"]
    assert card.data.tags == ["mbt-lite", "reasoning", "scripted"]
    assert "2 traces by big, scripted" in card.text
    assert "1 of them were written by rules" in card.text


def test_traces_are_loaded_by_datasets_with_their_card(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the train extra")
    run = make_run(tmp_path / "run")
    card = card_of(run, "traces", DatasetCard)
    card.save(tmp_path / "repo/README.md")
    (tmp_path / "repo/traces.jsonl").write_bytes((run / "gen/traces.jsonl").read_bytes())
    rows = datasets.load_dataset(str(tmp_path / "repo"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["trace_id"][:] == ["q1:0", "q2:0"]


def test_cards_name_the_licence_of_the_datasets_layout(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text(json.dumps(MUSIQUE))
    card = card_of(make_run(tmp_path / "run", str(tmp_path / "questions.jsonl")), "adapter", ModelCard)
    assert card.data.license == "apache-2.0", "that of the weights"
    assert "are under `cc-by-4.0`" in card.text


def test_a_base_that_the_hub_cannot_look_up_is_left_out_of_the_header(tmp_path: Path) -> None:
    card = card_of(make_run(tmp_path / "run", base=str(tmp_path)), "merged", ModelCard)
    assert card.data.base_model is None
    assert card_of(make_run(tmp_path / "other"), "merged", ModelCard).data.base_model == "own/base"


def test_the_report_is_a_static_space(tmp_path: Path) -> None:
    card = card_of(make_run(tmp_path / "run"), "report", SpaceCard)
    assert (card.data.sdk, card.data.app_file, card.data.license) == ("static", "index.html", "apache-2.0")


@pytest.mark.parametrize("content", [None, '{"question": "Who?", "answer": "Ann"}'], ids=["gone", "people's own"])
def test_unknown_data_wants_its_licence_named(content: str | None, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    if content is not None:
        own.write_text(content)
    run = make_run(tmp_path / "run", str(own))
    said = refusal(look(run, "--what", "traces", "--to", "me/thing", "--dry-run"))
    assert said.startswith(f"push: the licence of the questions is unknown (got {own}); name it with --license")
    card = card_of(run, "traces", DatasetCard, "--license", "cc0-1.0")
    assert card.data.license == "cc0-1.0"


def test_push_leaves_a_public_repository_alone_unless_told(tmp_path: Path, hub: Hub) -> None:
    run = make_run(tmp_path / "run")
    hub.repos["dataset", "me/thing"] = {"private": False, "files": {}}
    said = refusal(send(run, hub.url, "--what", "traces", "--to", "thing"))
    assert said == "push: me/thing is there already and public; add --public, or name another"
    assert not hub.repos["dataset", "me/thing"]["files"]
    assert send(run, hub.url, "--what", "traces", "--to", "thing", "--public").returncode == 0
    assert hub.repos["dataset", "me/thing"]["files"].keys() == {"README.md", "traces.jsonl"}


def test_push_says_what_the_hub_refuses(tmp_path: Path, hub: Hub) -> None:
    run = make_run(tmp_path / "run")
    told = ("--what", "traces", "--to", "them/thing")
    hub.refusal = (403, "You don't have the rights to create a dataset under the namespace them.")
    assert "the hub refuses it (403: You don't have the rights" in refusal(send(run, hub.url, *told))
    hub.refusal = None
    said = refusal(send(run, hub.url, *told, "--license", "my own"))
    assert 'the hub refuses the card (Invalid metadata in README.md. - "license" must be one of' in said
    assert "(401: Invalid username or password.); run `hf auth login` anew" in refusal(
        send(run, hub.url, *told, HF_TOKEN="hf_old")
    )


def test_large_files_that_get_no_further_are_told_in_a_line(tmp_path: Path, hub: Hub) -> None:
    pytest.importorskip("hf_xet", reason="needs the hub's own transport of large files")
    # the stand-in has no store for it
    said = refusal(send(make_run(tmp_path / "run"), hub.url, "--what", "adapter", "--to", "me/thing"))
    assert said.startswith(f"push: the hub at {hub.url} cannot be reached (")
    assert "xet-write-token" in said
    assert not hub.repos["model", "me/thing"]["files"]


def test_push_needs_a_login_and_a_network(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    told = ("--what", "traces", "--to", "me/thing")
    assert refusal(send(run, "http://127.0.0.1:9", *told, HF_TOKEN="")).startswith(
        "push: nobody is logged in to the hub; run `hf auth login`"
    )
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        said = refusal(send(run, nobody, *told))
    assert said.startswith(f"push: the hub at {nobody} cannot be reached")
    assert send(run, nobody, *told, "--dry-run").returncode == 0
    assert "cannot be reached" in refusal(send(run, nobody, *told, HF_HUB_OFFLINE="1"))


def test_push_refuses_what_is_not_there_or_must_not_leave(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert "--to is no name of a repository" in refusal(look(run, "--what", "traces", "--to", "a/b/c"))
    assert "not a run folder" in refusal(look(tmp_path, "--what", "traces", "--to", "me/thing"))
    (run / "export/sft-merged/README.md").unlink()
    said = refusal(look(run, "--what", "merged", "--to", "me/thing"))
    assert said.startswith(f"{run}: nothing is exported as merged; run `mbt-lite export {run} --format merged` first")
    told = ("--what", "report", "--to", "me/thing", "--dry-run")
    write_text(run / "eval/report.html", "the key is s3cret-key")
    assert "index.html holds the key of MY_KEY" in refusal(look(run, *told, MY_KEY="s3cret-key"))
    (run / "eval/report-plots/out.svg").symlink_to(tmp_path)
    assert "a link that leads out of the run folder" in refusal(look(run, *told))
    (run / "eval/report-plots/out.svg").unlink()
    (run / "eval/report.html").unlink()
    assert "report.html: is not there; run `mbt-lite eval`" in refusal(look(run, *told))
