import dataclasses

import pytest
import torch

from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import complete, generate
from mbt_lite.generation.library import left_pad, until_stop

PROMPTS = ([5, 6, 7, 8, 9, 10, 11], [20, 21], [30, 31, 32, 33])


def plain_greedy(student, prompt, steps):
    """The independent route: no cache, no padding, one prompt at a time."""
    ids = list(prompt)
    for _ in range(steps):
        with torch.no_grad():
            token = int(student.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        ids.append(token)
        if token in student.stop_ids:
            break
    return ids[len(prompt) :]


def completed(student, prompts, decoding, **more):
    """Give what is written of each prompt's samples, in order, each once."""
    found = list(complete(student, prompts, decoding, **more))
    assert len({place[:2] for place in found}) == len(found) == len(prompts) * decoding.samples
    return [written for *_, written in sorted(found, key=lambda place: place[:2])]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_complete_greedy_equals_plain_forward_passes(student, batch_size):
    found = completed(student, PROMPTS, Decoding(samples=2, max_completion_tokens=24, batch_size=batch_size))
    expected = [plain_greedy(student, prompt, 24) for prompt in PROMPTS]
    assert found == [(row, None) for row in expected for _ in range(2)]


def test_complete_reads_a_prompt_of_one_token(student):
    assert completed(student, [[5]], Decoding(max_completion_tokens=6)) == [(plain_greedy(student, [5], 6), None)]


@pytest.mark.parametrize("shared", [True, False], ids=["shared prefix", "the model's own"])
def test_generate_keeps_the_limit_of_each_prompt(student, monkeypatch, shared):
    from mbt_lite.generation import generate as module

    monkeypatch.setattr(module, "shares_prompts", lambda student, model: shared)
    prompts = [[{"role": "user", "content": text}] for text in ("we think", "the answer", "about", "we")]
    decoding = Decoding(samples=2, max_completion_tokens=9, batch_size=6)
    free = {(r.prompt_index, r.sample_index): r for r in generate(student, prompts, decoding)}
    limits = [1, 9, 4, len(free[3, 0].token_ids)]
    cut = {(r.prompt_index, r.sample_index): r for r in generate(student, prompts, decoding, limits=limits)}
    assert cut.keys() == free.keys()
    for (prompt, sample), rollout in cut.items():
        whole = free[prompt, sample]
        assert rollout.token_ids == whole.token_ids[: limits[prompt]]
        is_whole = rollout.token_ids == whole.token_ids
        assert rollout.finish_reason == (whole.finish_reason if is_whole else "length")


def test_generate_same_seed_same_rollouts(student):
    prompts = [[{"role": "user", "content": text}] for text in ("we think", "the answer", "about")]
    settings = dict(samples=3, temperature=1.0, top_p=0.9, top_k=20, max_completion_tokens=8, batch_size=6)
    runs = [list(generate(student, prompts, Decoding(seed=seed, **settings))) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert {(r.prompt_index, r.sample_index) for r in runs[0]} == {(p, s) for p in range(3) for s in range(3)}


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "sampled"])
def test_generate_goes_on_as_if_it_had_never_stopped(student, temperature):
    texts = ("we", "we think", "we think about", "the answer", "about the answer", "answer", "think about")
    prompts = [[{"role": "user", "content": text}] for text in texts]
    settings = dict(
        samples=2, temperature=temperature, top_p=1.0, top_k=0, max_completion_tokens=8, batch_size=4, seed=3
    )
    whole = {(r.prompt_index, r.sample_index): r for r in generate(student, prompts, Decoding(**settings))}
    for wanted in ({0, 1, 2, 3, 4, 5, 6}, {2, 5}, {6}, set()):
        again = {(r.prompt_index, r.sample_index): r for r in generate(student, prompts, Decoding(**settings), wanted)}
        assert again == {key: rollout for key, rollout in whole.items() if key[0] in wanted}


def test_generate_marks_what_was_cut_off(student):
    rollouts = generate(student, [[{"role": "user", "content": "we"}]], Decoding(max_completion_tokens=1))
    (rollout,) = rollouts
    assert (rollout.finish_reason == "stop") == (rollout.token_ids[-1] in student.stop_ids)
    assert len(rollout.token_ids) == 1


def test_left_pad_masks_the_padding():
    ids, mask = left_pad([[1, 2, 3], [4]], 0, torch.device("cpu"))
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert mask.tolist() == [[True, True, True], [False, False, True]]


@pytest.mark.parametrize(("ids", "cut"), [([1, 9, 2], [1, 9]), ([1, 2], [1, 2]), ([9], [9])])
def test_until_stop_keeps_the_stop_token(ids, cut):
    assert until_stop(ids, frozenset({9})) == cut


def plain_log_probs(student, prompt, ids, temperature):
    """The independent route: one pass over prompt and completion, no cache, no padding."""
    with torch.no_grad():
        logits = student.model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    return (logits.float() / temperature).log_softmax(dim=-1)[range(len(ids)), ids]


@pytest.mark.parametrize(
    ("drawing", "temperature"),
    [({}, 1.0), ({"temperature": 1.0}, 1.0), ({"temperature": 0.7, "top_k": 5, "top_p": 0.9}, 0.7)],
    ids=["greedy counts as 1", "plain", "cuts do not count"],
)
@pytest.mark.parametrize("shared", [True, False], ids=["shared prefix", "the model's own"])
def test_log_probs_are_the_policys_at_the_temperature(student, monkeypatch, shared, drawing, temperature):
    from mbt_lite.generation import generate as module

    monkeypatch.setattr(module, "shares_prompts", lambda student, model: shared)
    # some rows end early
    monkeypatch.setattr(type(student), "stop_ids", frozenset(range(0, 320, 9)))
    decoding = Decoding(samples=2, max_completion_tokens=12, batch_size=4, seed=3, log_probs=True, **drawing)
    found = completed(student, PROMPTS, decoding)
    assert len({len(ids) for ids, _ in found}) > 1, "all of one length: the test shows less"
    for row, (ids, log_probs) in enumerate(found):
        assert len(log_probs) == len(ids)
        expected = plain_log_probs(student, PROMPTS[row // 2], ids, temperature)
        assert torch.allclose(torch.tensor(log_probs), expected, atol=1e-4, rtol=0)
    without = dataclasses.replace(decoding, log_probs=False)
    assert completed(student, PROMPTS, without) == [(ids, None) for ids, _ in found], "asking changes what is drawn"
