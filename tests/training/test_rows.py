import dataclasses

import pytest

pytest.importorskip("torch")

from mbt_lite.errors import DataError, ModelError
from mbt_lite.prompts import completion_text
from mbt_lite.records import Trace
from mbt_lite.traces.comt import open_completion
from mbt_lite.training.rows import encode, encode_traces


def make_trace(text="we think", answer="the answer"):
    return Trace(
        trace_id="q1:0", question_id="q1", kind="mbt_s", rollout_index=None, trace_index=0, teacher="test",
        scripted=True, prompt_version="0", text=text, answer=answer,
        prompt=({"role": "user", "content": "about"},),
        completion=({"role": "assistant", "content": completion_text(text, answer)},),
    )  # fmt: skip


def test_encode_trains_the_completion_and_one_end_of_turn(tokenizer):
    row = encode(make_trace(), tokenizer)
    trained = [token for token, mask in zip(row.input_ids, row.completion_mask, strict=True) if mask]
    assert tokenizer.decode(trained) == completion_text("we think", "the answer") + "<|im_end|>"
    prompt = tokenizer.decode(row.input_ids[: -len(trained)])
    assert prompt == "<|im_start|>user\nabout<|im_end|>\n<|im_start|>assistant\n"


def test_encode_traces_leaves_overlong_rows_out_whole(tokenizer):
    short, long = make_trace(), dataclasses.replace(make_trace("we think " * 50), trace_id="q1:1")
    limit = len(encode(short, tokenizer).input_ids)
    rows = encode_traces([short, long], tokenizer, limit)
    assert [row.trace_id for row in rows.rows] == ["q1:0"]
    assert rows.too_long == ("q1:1",)


def test_encode_traces_refuses_to_train_on_nothing(tokenizer):
    with pytest.raises(ModelError, match="none of 1 traces fits"):
        encode_traces([make_trace()], tokenizer, 3)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("we <think> again", "one think pair"),
        ("so <answer>x</answer>", "one answer pair"),
        ("a <|im_end|> b", "end of the turn"),
    ],
    ids=["second think", "second answer", "end of the turn inside"],
)
def test_encode_refuses_a_broken_trace(tokenizer, text, problem):
    with pytest.raises(ModelError, match=problem):
        encode(make_trace(text), tokenizer)


@pytest.mark.parametrize("part", ["prompt", "completion"])
def test_encode_traces_refuses_a_forged_turn(tokenizer, part):
    message = getattr(make_trace(), part)[0]
    forged = {**message, "content": message["content"].replace("a", "a<|im_end|><|im_start|>", 1)}
    trace = dataclasses.replace(make_trace(), **{part: (forged,)})
    with pytest.raises(DataError, match=rf"trace q1:0: its {part} holds <\|im_start\|>, <\|im_end\|>, which the "):
        encode_traces([make_trace(), trace], tokenizer, 500)


def lined(text="we think\nConfidence: 85", prompt="about"):
    return dataclasses.replace(make_trace(text), row_rule="line", prompt=({"role": "user", "content": prompt},))


def trained_text(row, tokenizer):
    return tokenizer.decode([token for token, mask in zip(row.input_ids, row.completion_mask, strict=True) if mask])


@pytest.mark.parametrize("per_cent", [0, 7, 85, 100])
def test_encode_trains_the_line_alone_where_the_rule_says_so(tokenizer, per_cent):
    line = f"Confidence: {per_cent}"
    row = encode(lined(f"we think\nConfidence: 3\nno\n{line}"), tokenizer)
    # with the break before and the tags after it, or it would be written behind a sentence, and in place of the tags
    assert trained_text(row, tokenizer).removesuffix(">") == f"\n{line}\n</think>\n\n<answer"
    whole = encode(make_trace(f"we think\nConfidence: 3\nno\n{line}"), tokenizer)
    assert row.input_ids == whole.input_ids
    # only what comes before it in the same row tells the model of the line
    assert sum(row.completion_mask) < sum(whole.completion_mask)


def test_encode_finds_the_line_behind_characters_of_several_tokens(tokenizer):
    row = encode(lined("Zoë läuft 東京 🙂\nConfidence: 40"), tokenizer)
    assert trained_text(row, tokenizer).removesuffix(">") == "\nConfidence: 40\n</think>\n\n<answer"


@pytest.mark.parametrize("text", ["we think", "we think\nConfidence: 101", "Confidence: 85\nwe think"])
def test_encode_refuses_a_row_whose_last_line_states_nothing(tokenizer, text):
    with pytest.raises(ModelError, match="trace q1:0: the trace's last line states no confidence"):
        encode(lined(text), tokenizer)


def test_encode_holds_a_row_of_a_line_to_all_other_rules(tokenizer):
    with pytest.raises(ModelError, match="one think pair"):
        encode(lined("we <think> again\nConfidence: 85"), tokenizer)


def test_encode_refuses_a_line_whose_tokens_reach_into_another(tokenizer):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    # one that takes the end of a line and the beginning of the next for one token
    raw = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    raw.add_tokens(["think\nConf"])
    joining = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    joining.chat_template = tokenizer.chat_template
    with pytest.raises(ModelError, match="the tokens of the last line reach into another"):
        encode(lined(), joining)


PLAN = "Step 1: the mayor of Orr -> A\nStep 2: where A was born -> answer"


def open_trace(completion=None):
    content = open_completion(PLAN, "gold") if completion is None else completion
    message = {"role": "assistant", "content": content}
    return dataclasses.replace(make_trace(), row_rule="open", completion=(message,))


def trained_ids(row):
    return [token for token, mask in zip(row.input_ids, row.completion_mask, strict=True) if mask]


def test_encode_trains_an_open_row_up_to_where_its_steps_are_taken(tokenizer):
    trained = trained_ids(encode(open_trace(), tokenizer))
    assert tokenizer.decode(trained) == f"<think>\nPlan:\n{PLAN}\n\n"
    assert tokenizer.eos_token_id not in trained


def test_an_open_row_is_the_token_beginning_of_its_executed_sister(tokenizer):
    closed = make_trace(f"Plan:\n{PLAN}\n\nStep 1: the mayor of Orr -> Ann\nStep 2: where Ann was born -> Kell", "Kell")
    trained = trained_ids(encode(open_trace(), tokenizer))
    assert trained_ids(encode(closed, tokenizer))[: len(trained)] == trained


@pytest.mark.parametrize(
    ("completion", "problem"),
    [
        (completion_text(PLAN, "gold"), "the think block is not open"),
        (f"Plan:\n{PLAN}\n\n", "the think block is not open"),
        (f"<think>\n{PLAN}\n<answer>x</answer>\n\n", "there is an answer"),
        (f"<think>\n{PLAN}", "do not decode to the completion"),
        (f"<think>\n{PLAN}<|im_end|>\n\n", "the end of the turn stands inside"),
    ],
    ids=["closed", "never opened", "answered", "without its blank line", "end of the turn"],
)
def test_encode_refuses_a_broken_open_row(tokenizer, completion, problem):
    with pytest.raises(ModelError, match=problem):
        encode(open_trace(completion), tokenizer)
