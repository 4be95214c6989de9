import dataclasses

import pytest
import torch

from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import complete_batch, generate, left_pad, until_stop

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


def test_complete_batch_greedy_equals_plain_forward_passes(student):
    found = complete_batch(student, PROMPTS, Decoding(samples=2, max_completion_tokens=24), torch.Generator())
    expected = [plain_greedy(student, prompt, 24) for prompt in PROMPTS]
    assert found == [(row, None) for row in expected for _ in range(2)]


def test_complete_batch_gives_the_output_head_contiguous_rows_of_one_position(student):
    """Of anything else torch makes a product per row, with a copy of the head's weights each."""
    seen = []
    head = student.model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        complete_batch(student, PROMPTS, Decoding(samples=2, max_completion_tokens=3), torch.Generator())
    finally:
        hook.remove()
    assert [tuple(x.shape[:2]) for x in seen] == [(3, 1), (6, 1), (6, 1)]
    assert all(x.is_contiguous() for x in seen)


def test_complete_batch_repacks_without_changing_the_rest(student, monkeypatch):
    """Stop at a token that some prompts meet early: the others must go on as if alone."""
    free = [plain_greedy(student, prompt, 24) for prompt in PROMPTS]
    stop = free[1][3]
    monkeypatch.setattr(type(student), "stop_ids", frozenset({stop}))
    found = complete_batch(student, PROMPTS, Decoding(max_completion_tokens=24), torch.Generator())
    assert found == [(until_stop(row, frozenset({stop})), None) for row in free]
    assert len({len(row) for row, _ in found}) > 1, "no row ended early: the test shows nothing"


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


def test_generate_computes_no_batch_of_which_nothing_is_wanted(student, monkeypatch):
    from mbt_lite.generation import generate as module

    sizes = []

    def count(student, prompts, *rest):
        sizes.append(len(prompts))
        return complete_batch(student, prompts, *rest)

    monkeypatch.setattr(module, "complete_batch", count)
    prompts = [[{"role": "user", "content": "we " * n}] for n in range(1, 7)]
    settings = dict(samples=1, temperature=0.0, top_p=1.0, top_k=0, max_completion_tokens=2, batch_size=2, seed=0)
    found = list(generate(student, prompts, Decoding(**settings), {3}))
    assert [rollout.prompt_index for rollout in found] == [3]
    assert sizes == [2]


def test_generate_puts_prompts_of_like_length_together(student, monkeypatch):
    from mbt_lite.generation import generate as module

    lengths = []

    def note(student, prompts, *rest):
        lengths.append([len(prompt) for prompt in prompts])
        return complete_batch(student, prompts, *rest)

    monkeypatch.setattr(module, "complete_batch", note)
    prompts = [[{"role": "user", "content": "we " * n}] for n in (5, 1, 4, 2, 6, 3)]
    settings = dict(samples=1, temperature=0.0, top_p=1.0, top_k=0, max_completion_tokens=1, batch_size=2, seed=0)
    assert len(list(generate(student, prompts, Decoding(**settings)))) == 6
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat)
    assert len(set(flat)) == 6


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
    decoding = Decoding(samples=2, max_completion_tokens=12, log_probs=True, **drawing)
    found = complete_batch(student, PROMPTS, decoding, torch.Generator().manual_seed(3))
    assert len({len(ids) for ids, _ in found}) > 1, "all of one length: the test shows less"
    for row, (ids, log_probs) in enumerate(found):
        assert len(log_probs) == len(ids)
        expected = plain_log_probs(student, PROMPTS[row // 2], ids, temperature)
        assert torch.allclose(torch.tensor(log_probs), expected, atol=1e-4, rtol=0)
    without = dataclasses.replace(decoding, log_probs=False)
    again = complete_batch(student, PROMPTS, without, torch.Generator().manual_seed(3))
    assert again == [(ids, None) for ids, _ in found], "asking changes what is drawn"
