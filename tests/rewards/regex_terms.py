"""The seven terms as separate reward functions over decoded text, as TRL users write them: a regex and a loop each.

An independent route to the law's numbers. Each function stands alone, as in TRL's own examples: it finds its tags and
normalises its words itself. They agree with the law on ASCII text; beyond it only the law is right.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_TRACE = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
_THINKING = re.compile(r"^.*?<think>.*?(?:</think>|\Z)", re.DOTALL)
_ANSWER = re.compile(r"<answer>(?!.*<answer>)(.*?)</answer>", re.DOTALL)
_WELL_FORMED = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)
_TAG = re.compile(r"</?(?:think|answer)>")
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def answer_reward(completions: Sequence[str], golds: Sequence[Sequence[str]], **_: Any) -> list[float]:
    """Give the best token F1 of the last answer."""
    rewards = []
    for text, accepted in zip(completions, golds, strict=True):
        answer = _answer(text)
        rewards.append(0.0 if answer is None else max(_f1(_words(answer), _words(gold)) for gold in accepted))
    return rewards


def exact_reward(completions: Sequence[str], golds: Sequence[Sequence[str]], **_: Any) -> list[float]:
    """Give 1 for an answer that equals a gold."""
    return [float(_is_exact(text, accepted)) for text, accepted in zip(completions, golds, strict=True)]


def format_reward(completions: Sequence[str], stopped: Sequence[bool], **_: Any) -> list[float]:
    """Give 1 for one think pair and one answer pair, and nothing else."""
    return [
        float(bool(done and _WELL_FORMED.fullmatch(text)) and len(_TAG.findall(text)) == 4)
        for text, done in zip(completions, stopped, strict=True)
    ]


def keep_reward(completions: Sequence[str], golds: Sequence[Sequence[str]], **_: Any) -> list[float]:
    """Give -1 for a wrong answer after a trace that mentions a gold."""
    return [
        -1.0 if not _is_exact(text, accepted) and _mention_ends(_trace_words(text), accepted) else 0.0
        for text, accepted in zip(completions, golds, strict=True)
    ]


def dwell_reward(
    completions: Sequence[str], golds: Sequence[Sequence[str]], verification_words: int, **_: Any
) -> list[float]:
    """Take off the share of words that follow the first mention of a gold, beyond an allowance."""
    rewards = []
    for text, accepted in zip(completions, golds, strict=True):
        words = _trace_words(text)
        ends = _mention_ends(words, accepted)
        beyond = len(words) - min(ends, default=len(words)) - verification_words
        rewards.append(-beyond / len(words) if ends and beyond > 0 and _is_exact(text, accepted) else 0.0)
    return rewards


def redundancy_reward(completions: Sequence[str], **_: Any) -> list[float]:
    """Take off the share of word 4-grams that occurred before."""
    rewards = []
    for text in completions:
        words = _trace_words(text)
        ngrams = list(zip(words, words[1:], words[2:], words[3:], strict=False))
        rewards.append(-(len(ngrams) - len(set(ngrams))) / len(ngrams) if ngrams else 0.0)
    return rewards


def length_reward(
    completion_ids: Sequence[Sequence[int]],
    stopped: Sequence[bool],
    max_completion_tokens: int,
    overlong_buffer_tokens: int,
    **_: Any,
) -> list[float]:
    """Take off up to 1 over the last tokens before the limit."""
    free = max_completion_tokens - overlong_buffer_tokens
    return [
        -min(1.0, max(0, len(ids) - free) / overlong_buffer_tokens) if done else -1.0
        for ids, done in zip(completion_ids, stopped, strict=True)
    ]


REWARDS: Mapping[str, Callable[..., list[float]]] = {
    "answer": answer_reward,
    "exact": exact_reward,
    "format": format_reward,
    "keep": keep_reward,
    "dwell": dwell_reward,
    "redundancy": redundancy_reward,
    "length": length_reward,
}


def _words(text: str) -> list[str]:
    return _ARTICLE.sub(" ", _PUNCTUATION.sub("", text.lower())).split()


def _trace_words(text: str) -> list[str]:
    found = _TRACE.search(text)
    return _words(found.group(1)) if found else []


def _answer(text: str) -> str | None:
    rest = _THINKING.sub("", text, count=1)
    found = _ANSWER.search(rest)
    return found.group(1).strip() if found else None


def _is_exact(text: str, golds: Sequence[str]) -> bool:
    answer = _answer(text)
    return answer is not None and any(_words(answer) == _words(gold) for gold in golds)


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer and not gold:
        return 1.0
    return 2 * (Counter(answer) & Counter(gold)).total() / (len(answer) + len(gold))


def _mention_ends(words: list[str], golds: Sequence[str]) -> list[int]:
    """Give the number of words through the first mention of each gold that is mentioned."""
    trace, ends = " ".join(words), []
    for gold in golds:
        wanted = " ".join(_words(gold))
        found = re.search(rf"\b{re.escape(wanted)}\b", trace) if len(wanted) >= 3 and wanted != "yes" else None
        if found:
            ends.append(len(trace[: found.end()].split()))
    return ends
