"""Whether the kernel gives the law's numbers, on random and adversarial completions.

The tests run it on samples. The whole check, more than 10,000 completions, from the folder tests/; without a GPU the
kernel runs in Triton's interpreter, which takes the better part of an hour:

    TRITON_INTERPRET=1 python -m rewards.agreement --form kernel --rows 12000
"""

import argparse
import dataclasses
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from byte_tokenizer import byte_tokenizer

from mbt_lite.errors import ModelError
from mbt_lite.rewards import law
from mbt_lite.rewards.counts import to_terms
from mbt_lite.rewards.terms import TERMS, RewardLimits
from mbt_lite.rewards.vocabulary import decode_without_specials, read_vocabulary

QWEN3 = Path(__file__).parents[1] / ".cache" / "qwen3"
TOKENIZERS = ("toy", "smollm2", "qwen3")
FORMS = ("kernel",)
SIZES = (1, 7, 33)
LIMITS = RewardLimits(max_completion_tokens=60, verification_words=2, overlong_buffer_tokens=20)

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
PROSE = (
    "Rome ", "rome, ", "New York ", "York", "the ", "The", "a", "an ", "A. ", "wait ", "first we need ",
    "let us check ", "yes or no? ", "we look ", "in ", "1912 ", "U.S. ", "don't ", "turn-of-the-century ",
    "internationalisation ", "abcdefgh ", "abcdefghi ", "abcdefghijklmnopqrstuvwxyz", "_", "!!! ", " ", "\n\n",
    "\t", "\x1c", "\v", "< ", "<think", "answer>",
)  # fmt: skip
BEYOND_ASCII = (
    "é", "É ", "–", "a–b ", "“The ", "’s ", "\u00a0", "\u2003", "\u200b", "ａ", "Ｌｉｍａ ", "北京", "ß", "e\u0301",
    "a\u0301 ", "🤔 ", "\u2028", "K", "\ufffd", "\x01", "\x7f", "\x85",
)  # fmt: skip
# Lower case by context, a longer lower case, a plane without table, a character that no word of ours may hold.
FOR_THE_LAW = ("Σ", "ΟΔΟΣ ", "İ", "Ⱥ", "\U00020000", "\0")
CHEATS = (
    "<think>So <answer>Rome</answer></think>",
    "<think>So <answer>Rome</answer></think><answer>Oslo</answer>",
    "<think>So.</think><answer>Oslo</answer><answer>Rome</answer>",
    "<think>So.</think><answer>Rome, Oslo, Lima</answer>",
    "<think>Rome Rome Rome Rome Rome Rome</think><answer>Rome</answer>",
    "<think>What is being asked? First we need. So far. Wait. Let us check.</think><answer>Rome</answer>",
    "<think></think><answer>Rome</answer>",
    "<think>Hm.</think><think>Rome</think><answer>Rome</answer>",
    "<think>Hm.</think><think>Rome<answer>Rome</answer>",
    "<think><think>Rome</think></think><answer>Rome</answer>",
    "<think>Rome</think><answer>" + "Rome and other words " * 30 + "</answer>",
    "<think>Rome</think><answer>Ro\u200bme</answer>",
    "<think>Rome</think><answer>Ｒｏｍｅ</answer>",
    "<think>Rome</think>\u200b<answer>Rome</answer>",
    "<think>Rome</think>\u2003<answer>Rome</answer>\u00a0",
    "<think>Rome</think><answer></answer>",
    "<think>Rome</think><answer>the</answer>",
    "<think>Rome</think></answer><answer>Rome",
    "<answer>Rome</answer>",
    "</think><think>Rome</think><answer>Rome</answer></think>",
    "",
)


class MissingTokenizerError(Exception):
    """A tokenizer is not on this machine; says how to get it."""


def load(name: str) -> Any:
    """Load a tokenizer; MissingTokenizerError where it is not to be had."""
    from transformers import PreTrainedTokenizerFast

    if name == "toy":
        # few tokens: characters beyond ASCII fall apart into bytes, tags into pieces
        return byte_tokenizer(["we think about the answer", "first we need Rome </think><answer>"], 320)
    if name == "smollm2":
        from mbt_lite.recipe.schema import Model
        from mbt_lite.student.loading import load_tokenizer

        try:
            return load_tokenizer(Model(name="embedded:smollm2-135m"))
        except ModelError as error:
            raise MissingTokenizerError(str(error)) from None
    if not (QWEN3 / "tokenizer.json").exists():
        raise MissingTokenizerError("needs the real Qwen3 tokenizer: python tests/fetch_qwen3_tokenizer.py")
    return PreTrainedTokenizerFast(
        tokenizer_file=str(QWEN3 / "tokenizer.json"), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    ids: list[list[int]]
    golds: list[list[str]]
    prefilled_think: bool


def random_batch(dice: random.Random, tokenizer: Any, rows: int) -> Batch:
    """Draw a batch: well-formed rows, heaps of pieces, cheats, random tokens, cut off, empty."""
    vocabulary = len(tokenizer)
    ids, golds = [], []
    for _ in range(rows):
        row = [] if dice.random() < 0.03 else list(tokenizer.encode(random_text(dice), add_special_tokens=False))
        if dice.random() < 0.1:
            # padding of the model's matrix, beyond the last token, can be sampled too
            row = [dice.randrange(vocabulary + 64) for _ in range(dice.randrange(40))]
        if dice.random() < 0.1:
            row = row[: dice.randrange(len(row) + 1)]
        ids.append([*row, *[tokenizer.eos_token_id] * (dice.random() < 0.7)])
        golds.append([random_gold(dice) for _ in range(dice.randrange(1, 4))])
    return Batch(ids, golds, dice.random() < 0.3)


def random_text(dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.15:
        return dice.choice(CHEATS)
    trace, answer = _pieces(dice, 40), dice.choice((random_gold(dice), _pieces(dice, 3)))
    if kind < 0.7:
        return f"<think>{trace}</think>{dice.choice((' ', '', 'x'))}<answer>{answer}</answer>"
    heap = [dice.choice(TAGS if dice.random() < 0.2 else PROSE) for _ in range(dice.randrange(40))]
    return "".join(heap)


def random_gold(dice: random.Random) -> str:
    return dice.choice(
        ("Rome", "the Rome", "New York", "NYC", "US", "", "a", "yes", "No.", "Rome Rome", "北京", _pieces(dice, 4))
    )


def _pieces(dice: random.Random, most: int) -> str:
    pool = PROSE
    # every fifth text is not ASCII, every fortieth needs the law
    if dice.random() < 0.2:
        pool = PROSE + BEYOND_ASCII + (FOR_THE_LAW if dice.random() < 0.125 else ())
    return "".join(dice.choice(pool) for _ in range(dice.randrange(most)))


def count(tokenizer: Any, batch: Batch) -> tuple[Any, list[bool]]:
    """Count a batch; the kernel's buffers hold nonsense before they are written."""
    vocabulary = read_vocabulary_once(tokenizer)
    kernel = poisoned_kernel(vocabulary, tokenizer.eos_token_id, batch.prefilled_think)
    counts, needs_law = kernel.count(batch.ids, batch.golds)
    return counts, needs_law.tolist()


_VOCABULARIES: dict[int, Any] = {}


def read_vocabulary_once(tokenizer: Any) -> Any:
    if id(tokenizer) not in _VOCABULARIES:
        _VOCABULARIES[id(tokenizer)] = read_vocabulary(tokenizer)
    return _VOCABULARIES[id(tokenizer)]


def poisoned_kernel(vocabulary: Any, stop_id: int, prefilled_think: bool) -> Any:
    import torch

    from mbt_lite.rewards.kernel import FusedKernel

    class Poisoned(FusedKernel):
        def _buffer(self, rows: int, width: int, dtype: torch.dtype) -> torch.Tensor:
            limits = torch.iinfo(dtype)
            return torch.randint(limits.min, limits.max, (rows, width), dtype=dtype, device=self._device)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Poisoned(vocabulary, frozenset({stop_id}), device, prefilled_think=prefilled_think)


def law_terms(tokenizer: Any, batch: Batch) -> list[tuple[float, ...]]:
    """Score a batch by the law, over the text that the tokenizer itself gives."""
    rows = []
    for ids, golds in zip(batch.ids, batch.golds, strict=True):
        stopped = bool(ids) and ids[-1] == tokenizer.eos_token_id
        text = decode_without_specials(tokenizer, ids[:-1] if stopped else ids)
        terms = law.score(
            text,
            stopped=stopped,
            completion_tokens=len(ids),
            golds=golds,
            limits=LIMITS,
            prefilled_think=batch.prefilled_think,
        )
        rows.append(tuple(terms.values()))
    return rows


def mismatches(tokenizer: Any, batch: Batch) -> tuple[list[str], int]:
    """Give what differs from the law, row by row, and how many rows the kernel leaves to the law.

    Terms have to be equal to the bit: both divide the same integers.
    """
    counts, needs_law = count(tokenizer, batch)
    terms = to_terms(counts, LIMITS)
    assert tuple(terms) == tuple(TERMS), "the kernel counts every term"
    rows = zip(*(column.tolist() for column in terms.values()), strict=True)
    found = [
        f"row {row} {batch.ids[row]} {batch.golds[row]}: terms {got}, by the law {want}"
        for row, (got, want, marked) in enumerate(zip(rows, law_terms(tokenizer, batch), needs_law, strict=True))
        if not marked and got != want
    ]
    return found, sum(needs_law)


def batches(seed: int, tokenizer: Any, rows: int, sizes: Sequence[int] = SIZES) -> Iterator[Batch]:
    """Draw batches of the sizes in turn until there are so many rows."""
    dice = random.Random(seed)
    drawn = 0
    while drawn < rows:
        size = sizes[dice.randrange(len(sizes))] if drawn else sizes[-1]
        yield random_batch(dice, tokenizer, min(size, rows - drawn))
        drawn += size


def main() -> None:
    """Check the kernel on random batches in every tokenizer there is; print one JSON line each, and what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=FORMS, default="kernel")
    parser.add_argument("--rows", type=int, default=12_000, help="in all")
    parser.add_argument("--tokenizers", nargs="+", choices=TOKENIZERS, default=TOKENIZERS)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    differs = False
    for name in asked.tokenizers:
        try:
            tokenizer = load(name)
        except MissingTokenizerError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
            continue
        rows, by_law, found = 0, 0, list[str]()
        for batch in batches(asked.seed, tokenizer, -(-asked.rows // len(asked.tokenizers))):
            wrong, marked = mismatches(tokenizer, batch)
            rows, by_law, found = rows + len(batch.ids), by_law + marked, found + wrong
        print(json.dumps({"tokenizer": name, "rows": rows, "mismatches": len(found), "by_law": by_law}), flush=True)
        print(*found[:5], sep="\n", file=sys.stderr)
        differs |= bool(found)
    sys.exit(differs)


if __name__ == "__main__":
    main()
