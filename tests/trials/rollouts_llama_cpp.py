"""How fast rollouts are beside llama.cpp's server: equal threads, prompts, rows, lengths. A trial for people.

    mbt-lite export runs/demo --format gguf --gguf-type f16 --out runs/demo_gguf
    python tests/trials/rollouts_llama_cpp.py --gguf runs/demo_gguf/FILE.gguf --threads 2

The student samples first; the server then writes as many tokens of each completion as the student's had, in as many
slots, from prompts that it keeps. They take turns; processor time is of the whole process of each.
"""

import argparse
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from llama_server import LlamaServer

from mbt_lite.data.synthetic import FILES, generate_questions
from mbt_lite.export.llama_cpp import find_server
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import generate
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Lora, Model
from mbt_lite.student.adapters import add_adapter
from mbt_lite.student.chat_template import prompt_ids
from mbt_lite.student.loading import Student, load_student

PROMPTS, SAMPLES, LONGEST, SLOT_TOKENS = 16, 4, 128, 768
Asked = list[tuple[list[int], int]]  # tokens of a prompt, tokens to write


def by_student(student: Student, rows: int) -> tuple[Asked, float, float]:
    """Write the rollouts as grpo does; give prompts and lengths, wall and processor seconds."""
    prompts = [student_messages(question) for question in generate_questions(FILES[0])[:PROMPTS]]
    decoding = Decoding(samples=SAMPLES, temperature=1.0, max_completion_tokens=LONGEST, batch_size=rows)
    wall, cpu = time.perf_counter(), time.process_time()
    found = list(generate(student, prompts, decoding))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ids = [list(prompt_ids(student.tokenizer, prompt)) for prompt in prompts]
    return [(ids[one.prompt_index], len(one.token_ids)) for one in found], wall, cpu


def by_server(server: LlamaServer, asked: Asked, rows: int) -> tuple[int, float, float]:
    """Have the server write as many tokens of each; give its own count, wall and processor seconds."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)

    def write(one: tuple[list[int], int]) -> int:
        ids, tokens = one
        body: dict[str, Any] = {"prompt": ids, "n_predict": tokens, "ignore_eos": True, "temperature": 1.0}
        return int(server.ask("/completion", body | {"cache_prompt": True})["tokens_predicted"])

    wall, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
    with ThreadPoolExecutor(rows) as pool:
        tokens = sum(pool.map(write, asked))
    return tokens, time.perf_counter() - wall, sum(process.cpu_times()[:2]) - cpu


def main() -> None:
    """Take turns and say each, then the medians."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gguf", type=Path, required=True, help="the student in 16 bits")
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--rows", type=int, default=16, help="completions written at once")
    options.add_argument("--runs", type=int, default=3)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    student = load_student(Model(name="embedded:smollm2-135m", backend="transformers"))
    add_adapter(student, Lora(rank=16, alpha=32), 0, gradient_checkpointing=False)
    threads = ("-t", str(given.threads), "-tb", str(given.threads))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        server = LlamaServer(find_server(), given.gguf, log, given.rows, SLOT_TOKENS, threads)
        try:
            server.start()
            told: dict[str, list[tuple[float, float]]] = {"student": [], "llama.cpp": []}
            for run in range(given.runs):
                asked, *ours = by_student(student, given.rows)
                tokens, *theirs = by_server(server, asked, given.rows)
                for name, count, (wall, cpu) in (
                    ("student", sum(tokens for _, tokens in asked), ours),
                    ("llama.cpp", tokens, theirs),
                ):
                    told[name].append((count / wall, count / cpu))
                    print(
                        f"run {run + 1}, {name}: {count} tokens, {count / wall:.0f}/s, {count / cpu:.0f} a CPU second"
                    )
        finally:
            server.kill()
    for name, found in told.items():
        wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{name}: {wall:.0f} tokens/s, {cpu:.0f} a CPU second, {given.threads} threads, {given.rows} rows")


if __name__ == "__main__":
    main()
