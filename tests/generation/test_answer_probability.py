"""The probability of an answer: of its own tokens, by their mean logarithm."""

import dataclasses

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from toy_student import student as student
from toy_student import tokenizer as tokenizer

from mbt_lite.errors import ModelError
from mbt_lite.generation.answer_probability import answer_probability
from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.generation.generate import generate

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


def test_a_rollouts_answer_is_as_probable_as_a_forward_pass_says(student) -> None:
    [rollout] = generate(
        student, [[{"role": "user", "content": "about"}]], Decoding(max_completion_tokens=12, log_probs=True)
    )
    # random weights write no tags: what they wrote is taken for an answer between them
    opening, closing = (student.tokenizer(tag)["input_ids"] for tag in ("<answer>", "</answer>"))
    kept = [token for token in rollout.token_ids if token != student.tokenizer.eos_token_id][:4]
    ids = [*opening, *kept, *closing]
    text = student.tokenizer.decode(ids, skip_special_tokens=True)
    prompt = student.tokenizer.apply_chat_template(
        [{"role": "user", "content": "about"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    with torch.no_grad():
        logits = student.model(torch.tensor([[*prompt, *rollout.token_ids]])).logits[0, len(prompt) - 1 : -1].float()
    wanted = torch.log_softmax(logits, -1)[range(len(rollout.token_ids)), list(rollout.token_ids)][:4]
    assert rollout.log_probs is not None
    told = (*[FAR] * len(opening), *rollout.log_probs[:4], *[FAR] * len(closing))
    made = dataclasses.replace(rollout, text=text, token_ids=tuple(ids), log_probs=told)
    found = answer_probability(made, student.tokenizer, prefilled_think=False)
    assert found == pytest.approx(float(wanted.mean().exp()), abs=1e-4)


def test_log_probabilities_that_are_no_numbers_stop_the_rollouts(student) -> None:
    """What is no number once counted as certain."""
    with torch.no_grad():
        student.model.get_output_embeddings().weight.fill_(torch.nan)
    decoding = Decoding(max_completion_tokens=4, log_probs=True)
    with pytest.raises(ModelError, match=r"log-probabilities are no numbers \(got nan, prompt 1\); set `model.dtype`"):
        list(generate(student, [[{"role": "user", "content": "about"}]], decoding))
