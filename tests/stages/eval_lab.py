"""The stand-ins of the eval tests: a run folder, a student that answers by heart, a tokenizer of words."""

import dataclasses
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mbt_lite.console import Screen
from mbt_lite.files import read_json, write_jsonl
from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.metrics import scorecard
from mbt_lite.recipe.schema import Data, Eval, Judge, Model, Questions, Recipe
from mbt_lite.records import Document, Message, Question, to_row
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import eval as stage

ANSWERS = {
    "base": "I do not know.",
    "metacognitive": "<think>It could be Paris. No, Rome.</think><answer>Rome</answer>",
    "sft": "<think>It must be Paris.</think><answer>Paris</answer>",
}


class WordTokenizer:
    """A chat template whose tokens are words, one of them a control token."""

    all_special_ids = ("<|im_end|>",)
    added_tokens_decoder: Mapping[str, Any] = {}
    eos_token_id = bos_token_id = pad_token_id = unk_token_id = "<|im_end|>"

    def convert_ids_to_tokens(self, ids: Sequence[str]) -> list[str]:
        return list(ids)

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[str]]:
        return {"input_ids": text.split()}

    def apply_chat_template(
        self, messages: list[Message], *, add_generation_prompt: bool, tokenize: bool, enable_thinking: bool
    ) -> Any:
        text = " ".join(message["content"] for message in messages) + " assistant:" * add_generation_prompt
        return text.split() if tokenize else text

    def get_chat_template(self) -> str:
        return "words"


@dataclasses.dataclass
class Lab:
    """A run folder with a stand-in student that remembers what it was asked: (variant, prompt) pairs."""

    recipe: Recipe
    run_dir: RunDir
    loaded: list[str]
    generated: list[tuple[str, str]]
    fail_after: int | None = None
    decoding: Decoding | None = None

    def run(self, *, is_terminal: bool = False) -> str:
        console = Screen(file=io.StringIO(), width=120, force_terminal=is_terminal)
        stage.run(self.recipe, self.run_dir, console)
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    def with_eval(self, **changes: Any) -> None:
        changed = self.recipe.eval.model_copy(update=changes)
        self.recipe = self.recipe.model_copy(update={"eval": changed})

    def with_judge(self, **changes: Any) -> None:
        self.recipe = self.recipe.model_copy(update={"judge": Judge(**changes)})

    def generate(
        self, student: str, asked: Sequence[list[Message]], decoding: Decoding, wanted: Collection[int]
    ) -> Iterator[Rollout]:
        self.decoding = decoding
        for index in reversed(sorted(wanted)):
            if self.fail_after is not None and len(self.generated) >= self.fail_after:
                raise KeyboardInterrupt
            variant = "metacognitive" if asked[index][0]["role"] == "system" else student
            self.generated.append((variant, asked[index][-1]["content"]))
            text = ANSWERS[variant]
            for sample in range(decoding.samples):
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
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(name.encode())


def make_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(scorecard, "BOOTSTRAP_SAMPLES", 50)
    train, dev = tmp_path / "train.jsonl", tmp_path / "dev.jsonl"
    write_jsonl(dev, (to_row(question(number)) for number in range(6)))
    other = dataclasses.replace(question(6), question="Which river is it?")
    write_jsonl(train, [to_row(other)])
    recipe = Recipe(
        model=Model(name="tiny"),
        data=Data(
            train=Questions(path=str(train), layout="mbt"),
            dev=Questions(path=str(dev), layout="mbt"),
            max_prompt_tokens=2000,
        ),
        eval=Eval(variants=("base", "metacognitive", "sft")),
    )
    run_dir = RunDir.open(tmp_path / "run", recipe.model_dump(mode="json"), frozenset())
    write_adapter(run_dir, "sft")
    lab = Lab(recipe, run_dir, [], [])

    def load_student(model: Model, adapter: Path | None = None) -> str:
        lab.loaded.append(adapter.parent.name if adapter else "base")
        return lab.loaded[-1]

    monkeypatch.setattr("mbt_lite.generation.local.load_tokenizer", lambda model: WordTokenizer())
    monkeypatch.setattr("mbt_lite.generation.local.load_student", load_student)
    monkeypatch.setattr("mbt_lite.generation.local.generate", lab.generate)
    # the images of a report take seconds; tests/report draws them
    monkeypatch.setattr("mbt_lite.report.html.write_images", lambda folder, plots: None)
    return lab


def metrics(lab: Lab, variant: str) -> dict[str, Any]:
    return read_json(lab.run_dir.path / "eval" / variant / "metrics.json")  # type: ignore[no-any-return]
