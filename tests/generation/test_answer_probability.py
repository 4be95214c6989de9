"""The probability of an answer: of its own tokens, by their mean logarithm."""

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from toy_student import student as student
from toy_student import tokenizer as tokenizer

from mbt_lite.generation.answer_probability import answer_probability
from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.generation.generate import generate
from mbt_lite.prompts import completion_text
from mbt_lite.student.token_spans import token_span

FAR = -9.0


def rollout_of(tokenizer, text, log_probs_of, prefilled=""):
    """Tokenise a text piece by piece, so that the edges of the answer are edges of tokens."""
    ids, told = [], []
    for piece, values in log_probs_of:
        found = tokenizer(piece, add_special_tokens=False)["input_ids"]
        ids += found
        told += values if values is not None else [FAR] * len(found)
        assert len(told) == len(ids), (piece, found)
    assert tokenizer.decode(ids) == text
    return Rollout(0, 0, text, (*ids, tokenizer.eos_token_id), "stop", 9, (*told, FAR))


def test_golden_value_is_the_geometric_mean_not_the_product(tokenizer) -> None:
    # three letters of three tokens
    pieces = [("<think>so</think><answer>", None), ("x", [-0.01]), ("y", [-0.2]), ("z", [-0.05]), ("</answer>", None)]
    text = "<think>so</think><answer>xyz</answer>"
    found = answer_probability(rollout_of(tokenizer, text, pieces), tokenizer, prefilled_think=False)
    assert found == pytest.approx(0.916983, abs=1e-6)
    assert found != pytest.approx(0.771052, abs=1e-3)


def test_the_last_answer_counts_and_its_white_space_does_not(tokenizer) -> None:
    pieces = [("<answer>x</answer> no <answer> \n", None), ("x", [-0.5]), (" </answer>", None)]
    text = "<answer>x</answer> no <answer> \nx </answer>"
    found = answer_probability(rollout_of(tokenizer, text, pieces), tokenizer, prefilled_think=False)
    assert found == pytest.approx(0.606531, abs=1e-6)


@pytest.mark.parametrize("text", ["<think>so", "<think>so</think>", "<think>x</think><answer> </answer>", "nothing"])
def test_without_an_answer_there_is_none(tokenizer, text) -> None:
    rollout = Rollout(0, 0, text, (1, 2), "length", 9, (FAR, FAR))
    assert answer_probability(rollout, tokenizer, prefilled_think=False) is None


@pytest.mark.parametrize("answer", ["Ann Lee", "東京タワー", "🙂 Zoë", "a"])
@pytest.mark.parametrize("before", ["we think", "私は考える 🙂"])
def test_token_span_covers_the_characters_and_no_further_token(tokenizer, answer, before) -> None:
    text = completion_text(before, answer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = text.rindex(answer)
    first, last = token_span(tokenizer, ids, start, start + len(answer))
    assert answer in tokenizer.decode(ids[first:last])
    assert answer not in tokenizer.decode(ids[first + 1 : last])
    assert answer not in tokenizer.decode(ids[first : last - 1])


def test_a_rollouts_own_log_probabilities_are_those_of_a_forward_pass(student) -> None:
    [rollout] = generate(
        student, [[{"role": "user", "content": "about"}]], Decoding(max_completion_tokens=12, log_probs=True)
    )
    # whatever it wrote, the last two tokens are taken for its answer
    text = student.tokenizer.decode(rollout.token_ids[:3])
    start, end = len(student.tokenizer.decode(rollout.token_ids[:1])), len(text)
    first, last = token_span(student.tokenizer, rollout.token_ids, start, end)
    prompt = student.tokenizer.apply_chat_template(
        [{"role": "user", "content": "about"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    ids = torch.tensor([[*prompt, *rollout.token_ids]])
    with torch.no_grad():
        logits = student.model(ids).logits[0, len(prompt) - 1 : -1].float()
    wanted = torch.log_softmax(logits, -1)[range(len(rollout.token_ids)), list(rollout.token_ids)]
    assert rollout.log_probs is not None
    assert list(rollout.log_probs[first:last]) == pytest.approx(wanted[first:last].tolist(), abs=1e-4)
