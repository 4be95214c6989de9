"""Run `gen` against a real endpoint and show what the gate made of its replies: a trial for people, not a test.

    python tests/trials/gen_acceptance.py --base-url http://127.0.0.1:8080/v1 --model NAME --questions FILE --rows 24
    python tests/trials/gen_acceptance.py ... --out DIR --without-support     (how often is UNSUPPORTED told?)

FILE is in any layout that the kit reads. For each kind of trace it writes a recipe and runs `mbt-lite gen` on it, in a
process of its own: the endpoint is teacher and, for kinds with drafts, student. Then it writes into the folder

    questions.jsonl    the questions asked, in our own layout; with --without-support, their supporting documents gone
    KIND.yaml KIND/    the recipe and the run folder of each kind
    acceptance.json    per kind: asked, passed, rejected by reason, replies that begin with UNSUPPORTED, requests
    ACCEPTANCE.md      the same as a table, then every text beside its question, rejected ones first, to read by eye

The same command goes on after a stop, and asks for nothing twice; --report-only makes the tables of what is there. A
gate that changed is tried on the replies there are: `--set gen.min_phases=0` with the same --out sends no request for
them if that key may change between runs, and says so if it may not.
"""

import argparse
import collections
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from mbt_lite.data.questions import read_questions
from mbt_lite.files import read_json, read_jsonl, write_json, write_jsonl
from mbt_lite.recipe.schema import Questions, TraceKind
from mbt_lite.records import Question, to_row
from mbt_lite.traces.kinds import kind_named

UNSUPPORTED = "UNSUPPORTED"


def student_section(base_url: str, model: str) -> dict[str, Any]:
    """Give the keys of `gen` that let an endpoint write the drafts."""
    return {"student": {"base_url": base_url, "model": model}}


def recipe_of(kind: str, questions: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Give the recipe of one kind."""
    endpoint = {"base_url": options.base_url, "model": options.model}
    if options.api_key_env is not None:
        endpoint["api_key_env"] = options.api_key_env
    # no trial: what is rejected is what this is about
    gen: dict[str, Any] = {"kind": kind, "seed": options.seed, "trial_traces": 0}
    gen["max_completion_tokens"] = options.draft_tokens
    if kind_named(kind).drafter == "student":
        gen |= student_section(options.base_url, options.model)
    return {
        "model": {"name": options.tokenizer},
        "data": {
            "train": {"path": str(questions)},
            # a recipe must name one; gen never reads it
            "dev": {"path": str(questions.with_name("none.jsonl"))},
            "max_prompt_tokens": options.max_prompt_tokens,
        },
        "teacher": {
            **endpoint,
            "max_completion_tokens": options.reply_tokens,
            "concurrency": options.concurrency,
            "timeout_seconds": options.timeout_seconds,
        },
        "gen": gen,
        "sft": {"max_sequence_tokens": options.max_prompt_tokens + options.reply_tokens},
    }


def without_support(question: Question) -> Question:
    """Take the supporting documents out; ValueError if none would be left, or none was there."""
    kept = tuple(document for document in question.documents if not document.is_supporting)
    if not kept or len(kept) == len(question.documents):
        raise ValueError(
            f"question {question.question_id}: {len(kept)} of {len(question.documents)} documents are distractors; "
            "--without-support needs both sorts"
        )
    return dataclasses.replace(question, documents=kept)


def run_gen(kind: str, questions: Path, options: argparse.Namespace) -> float:
    """Run the stage through the command line; give its seconds. What it says goes to this process's own output."""
    recipe = options.out / f"{kind}.yaml"
    # JSON is YAML too
    write_json(recipe, recipe_of(kind, questions, options))
    settings = [part for setting in options.set for part in ("--set", setting)]
    command = [sys.executable, "-m", "mbt_lite", "gen", str(recipe), "--out", str(options.out / kind), *settings]
    started = time.monotonic()
    done = subprocess.run(command, check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    # 2 is an answer too, once the endpoint has replied: no trace accepted, or too few of the first ones
    has_replies = bool(read_jsonl(options.out / kind / "gen" / "replies.jsonl"))
    if done.returncode != 0 and not (done.returncode == 2 and has_replies):
        raise SystemExit(f"gen {kind}: ended with {done.returncode}; see above")
    return time.monotonic() - started


def acceptance(folder: Path) -> dict[str, Any]:
    """Count what became of the traces of a finished `gen`."""
    traces, rejected = read_jsonl(folder / "traces.jsonl"), read_jsonl(folder / "rejected.jsonl")
    final = [row for row in rejected if not row["retried"]]
    replies = read_jsonl(folder / "replies.jsonl")
    unsupported = collections.Counter(row["kind"] for row in replies if row["text"].lstrip().startswith(UNSUPPORTED))
    return {
        "asked": len(traces) + len(final),
        "passed": len(traces),
        "rejected": dict(collections.Counter(row["reason"] for row in final).most_common()),
        "tried again": dict(collections.Counter(row["reason"] for row in rejected if row["retried"]).most_common()),
        "drafts": dict(collections.Counter(row["finish_reason"] for row in read_jsonl(folder / "rollouts.jsonl"))),
        "replies by ending": {
            kind: dict(collections.Counter(row["finish_reason"] for row in replies if row["kind"] == kind))
            for kind in dict.fromkeys(row["kind"] for row in replies)
        },
        "replies that begin with UNSUPPORTED": dict(unsupported),
        "usage": read_json(folder / "usage.json") if (folder / "usage.json").exists() else {},
    }


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """Show the counts as a Markdown table, one column a kind."""
    reasons = dict.fromkeys(reason for counts in found.values() for reason in counts["rejected"])

    def line(name: str, cells: Iterable[Any]) -> str:
        return f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |"

    def spell(counts: dict[str, Any]) -> str:
        return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"

    return [
        line("", found),
        line("---", ["---"] * len(found)),
        line("asked", (counts["asked"] for counts in found.values())),
        line("passed", (counts["passed"] for counts in found.values())),
        *(line(f"rejected: {why}", (one["rejected"].get(why, 0) for one in found.values())) for why in reasons),
        line("drafts by ending", (spell(counts["drafts"]) for counts in found.values())),
        *(
            line(
                f"`{UNSUPPORTED}` in {kind} replies",
                (
                    one["replies that begin with UNSUPPORTED"].get(kind, 0) if kind in one["usage"] else "–"
                    for one in found.values()
                ),
            )
            for kind in dict.fromkeys(kind for counts in found.values() for kind in counts["usage"])
            if kind != "draft"
        ),
        line("requests", (spell({k: v["requests"] for k, v in one["usage"].items()}) for one in found.values())),
        line(
            "completion tokens",
            (spell({k: v["completion_tokens"] for k, v in one["usage"].items()}) for one in found.values()),
        ),
        line("seconds", (counts.get("seconds", "–") for counts in found.values())),
    ]


def shown(label: str, verdict: str, text: str, question: Question) -> list[str]:
    """Show one text with what is needed to tell whether the gate was right."""
    support = "; ".join(document.title for document in question.documents if document.is_supporting)
    return [
        f"### {label}: {verdict}",
        "",
        f"Question: {question.question}  ",
        f"Gold: **{question.answer}**  ",
        f"Supporting documents: {support or 'none'}  ",
        "Right or wrong: ____",
        "",
        # four backticks: a reply may hold a code block
        "````text",
        text,
        "````",
        "",
    ]


def report(questions: Sequence[Question], kinds: Sequence[str], seconds: dict[str, float], out: Path) -> str:
    """Write acceptance.json and ACCEPTANCE.md; give the table."""
    by_id = {question.question_id: question for question in questions}
    found = {kind: acceptance(out / kind / "gen") for kind in kinds}
    for kind, spent in seconds.items():
        found[kind]["seconds"] = round(spent)
    write_json(out / "acceptance.json", found)
    lines = [*table(found), ""]
    for kind in kinds:
        rejected, traces = (read_jsonl(out / kind / "gen" / f"{name}.jsonl") for name in ("rejected", "traces"))
        lines += [f"## {kind}: {len(rejected)} rejected texts, {len(traces)} passed", ""]
        for row in rejected:
            lines += shown(f"{row['label']}:{row['attempt']}", row["reason"], row["text"], by_id[row["question_id"]])
        for row in traces:
            lines += shown(row["trace_id"], "passed", row["text"], by_id[row["question_id"]])
    (out / "ACCEPTANCE.md").write_text("\n".join(lines))
    return "\n".join(table(found))


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--base-url", required=True, help="an OpenAI-compatible endpoint, such as http://127.0.0.1:8080/v1")
    add("--model", required=True, help="the model's name at that endpoint")
    add("--api-key-env", help="name of the environment variable that holds the endpoint's key")
    add("--questions", type=Path, required=True, help="a question file: MuSiQue, HotpotQA, 2Wiki or our own layout")
    add("--rows", type=int, default=24, help="questions asked, chosen by --seed (default: 24)")
    add(
        "--kinds",
        nargs="+",
        choices=get_args(TraceKind),
        default=["mbt_s", "mbt_r"],
        help="kinds of traces (default: mbt_s mbt_r)",
    )
    add("--without-support", action="store_true", help="take the supporting documents out of every question first")
    add("--out", type=Path, help="the folder of everything (default: a new one under the system's temporary folder)")
    add("--max-prompt-tokens", type=int, default=1200, help="distractors go until a prompt fits (default: 1200)")
    add("--reply-tokens", type=int, default=1024, help="longest guide and trace (default: 1024)")
    add("--draft-tokens", type=int, default=512, help="longest draft (default: 512)")
    add("--concurrency", type=int, default=4, help="requests under way; the server's slots (default: 4)")
    add("--timeout-seconds", type=float, default=1800.0, help="longest wait for one reply (default: 1800)")
    add("--tokenizer", default="embedded:smollm2-135m", help="the model whose tokenizer counts the prompts' tokens")
    add("--seed", type=int, default=0, help="chooses the questions and seeds the requests (default: 0)")
    add(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any further key of the recipe; may be repeated"
    )
    add("--report-only", action="store_true", help="ask nothing, make the tables of what --out holds")
    return parser.parse_args(arguments)


def main() -> None:
    options = read_options()
    options.out = options.out or Path(tempfile.mkdtemp(prefix="gen_acceptance_"))
    options.out.mkdir(parents=True, exist_ok=True)
    questions = read_questions(Questions(path=str(options.questions), limit=options.rows), options.seed)
    if options.without_support:
        questions = [without_support(question) for question in questions]
    path = options.out / "questions.jsonl"
    rows = [to_row(question) for question in questions]
    # a file that is there stays as it is: the run folders hold its fingerprint
    if path.exists() and list(read_jsonl(path)) != json.loads(json.dumps(rows)):
        raise SystemExit(f"{path}: holds other questions; choose another --out")
    if not path.exists():
        write_jsonl(path, rows)
    seconds = {} if options.report_only else {kind: run_gen(kind, path, options) for kind in options.kinds}
    print(f"\n{report(questions, options.kinds, seconds, options.out)}\n\n{options.out / 'ACCEPTANCE.md'}")


if __name__ == "__main__":
    main()
