"""Rollouts by vLLM on the student's weights, without vLLM: what it is asked, what is read, what is refused.

A stand-in has the three attributes that unsloth puts on a model: `vllm_engine`, `load_lora`, `fast_generate`.
"""

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("peft")

import torch

from mbt_lite.errors import ModelError
from mbt_lite.recipe import schema
from mbt_lite.student import loading as students
from mbt_lite.student.adapters import add_adapter, check_rollouts_use_adapter, zeroed
from mbt_lite.student.chat_template import prompt_ids
from mbt_lite.student.unsloth_backend import Engine, check_loaded, engine_of, hiding_engine
from mbt_lite.training.grpo_rollouts import group_of, rollouts

MESSAGES = [{"role": "user", "content": "think"}]
STOP = frozenset({2})


def sample(index: int, ids: list[int], reason: str) -> SimpleNamespace:
    # without a reason of its own a token's log-probability is its number
    logprobs = [{token: SimpleNamespace(logprob=float(token))} for token in ids]
    return SimpleNamespace(index=index, token_ids=ids, finish_reason=reason, logprobs=logprobs)


class StandIn:
    """Answer with tokens that depend on the adapter's weights as they were handed over; `keeps` keeps the first."""

    def __init__(self, model: Any, stop: int, *, keeps: bool = False) -> None:
        self.model, self.stop, self.keeps = model, stop, keeps
        self.handed: list[float] = []
        self.asked: list[tuple[Any, Any]] = []
        model.load_lora, model.fast_generate = self.load_lora, self.generate

    def load_lora(self, folder: str, load_tensors: bool) -> float:
        assert load_tensors
        weights = [weight for name, weight in self.model.state_dict().items() if ".lora_B." in name]
        self.handed.append(sum(float(weight.abs().sum()) for weight in weights))
        return self.handed[0 if self.keeps else -1]

    def generate(self, prompts: Any, params: Any, *, lora_request: float, use_tqdm: bool) -> list[Any]:
        assert not use_tqdm
        self.asked.append((prompts, params))
        token = 5 if lora_request else 6
        # in any order: each says its index
        return [
            SimpleNamespace(outputs=[sample(i, [token, 10 + i, self.stop], "stop") for i in reversed(range(one.n))])
            for one in params
        ]


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    def params(n: int = 1, **settings: Any) -> SimpleNamespace:
        return SimpleNamespace(n=n, **settings)

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(SamplingParams=params))


@pytest.fixture
def served(student: Any) -> Any:
    add_adapter(student, schema.Lora(rank=4, alpha=8), 0, gradient_checkpointing=False)
    student.has_engine = True
    return student


def move(student: Any) -> None:
    with torch.no_grad():
        for name, weight in student.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)


def test_rollouts_ask_the_engine_with_the_adapter_of_the_step_and_a_seed_for_each_prompt(served: Any) -> None:
    engine = StandIn(served.model, served.tokenizer.eos_token_id)
    roll_out = rollouts(served, schema.Grpo(group_size=2, max_completion_tokens=7, temperature=0.9, seed=3))
    other = [{"role": "user", "content": "we"}]
    found = roll_out([MESSAGES, MESSAGES, other, other], SimpleNamespace(state=SimpleNamespace(global_step=4)))
    stop = served.tokenizer.eos_token_id
    assert found["completion_ids"] == [[6, 10, stop], [6, 11, stop]] * 2
    first, second = (prompt_ids(served.tokenizer, messages) for messages in (MESSAGES, other))
    assert found["prompt_ids"] == [first, first, second, second]
    assert found["logprobs"] is None
    assert found["log_probs"] == [[6.0, 10.0, stop], [6.0, 11.0, stop]] * 2
    [(prompts, params)] = engine.asked
    assert prompts == [{"prompt_token_ids": first}, {"prompt_token_ids": second}]
    asked = {"n": 2, "temperature": 0.9, "top_p": 1.0, "top_k": -1, "max_tokens": 7, "logprobs": 0}
    asked["stop_token_ids"] = sorted(served.stop_ids)
    assert [vars(one) for one in params] == [asked | {"seed": 4 * 1_000_003 + 4 * 1009 + add} for add in (0, 2)]
    move(served)
    later = roll_out([MESSAGES, MESSAGES], SimpleNamespace(state=SimpleNamespace(global_step=5)))
    assert later["completion_ids"] == [[5, 10, stop], [5, 11, stop]], "the weights of the step were not handed over"


@pytest.mark.parametrize(
    "samples",
    [
        [sample(0, [5, 2], "stop")],
        [sample(0, [5, 2], "stop"), sample(1, [5], "stop")],
        [sample(0, [5, 2], "stop"), sample(1, [5, 2], "length")],
        [sample(0, [5, 2], "stop"), sample(1, [], "abort")],
    ],
    ids=["one is missing", "stopped without a stop token", "stop token without a stop", "given up"],
)
def test_group_of_refuses_completions_that_end_otherwise(samples: list[SimpleNamespace]) -> None:
    with pytest.raises(ModelError, match="do not end as it says"):
        group_of(SimpleNamespace(outputs=samples), 2, STOP)


def test_group_of_reads_samples_in_order_whole_or_cut() -> None:
    output = SimpleNamespace(outputs=[sample(1, [7, 8, 9], "length"), sample(0, [5, 2], "stop")])
    assert group_of(output, 2, STOP) == [([5, 2], [5.0, 2.0]), ([7, 8, 9], [7.0, 8.0, 9.0])]


@pytest.mark.parametrize(
    "told",
    [None, [], [{5: -1.0}], [{5: -1.0}, {7: -1.0}], [{5: -1.0}, {2: float("nan")}]],
    ids=["none", "empty", "one is missing", "of another token", "no number"],
)
def test_group_of_refuses_tokens_whose_log_probabilities_are_not_told(told: Any) -> None:
    one = sample(0, [5, 2], "stop")
    one.logprobs = told and [
        {token: SimpleNamespace(logprob=value)} for place in told for token, value in place.items()
    ]
    with pytest.raises(ModelError, match="does not tell the log-probabilities of its tokens"):
        group_of(SimpleNamespace(outputs=[one]), 1, STOP)


def test_check_rollouts_use_adapter_passes_an_engine_that_follows_and_leaves_the_weights(served: Any) -> None:
    move(served)
    before = {name: weight.detach().clone() for name, weight in served.model.named_parameters()}
    engine = StandIn(served.model, 2)
    check_rollouts_use_adapter(served, MESSAGES)
    assert engine.handed[0] > 0
    assert engine.handed[1] == 0
    assert all(torch.equal(weight, before[name]) for name, weight in served.model.named_parameters())


@pytest.mark.parametrize("moved", [True, False], ids=["a stale adapter", "an untrained adapter"])
def test_check_rollouts_use_adapter_refuses_an_engine_that_does_not_follow(moved: bool, served: Any) -> None:
    if moved:
        move(served)
    StandIn(served.model, 2, keeps=moved)
    with pytest.raises(ModelError, match=r"vLLM: the adapter changes nothing .* set grpo.rollout_engine to local"):
        check_rollouts_use_adapter(served, MESSAGES)


def test_zeroed_gives_the_weights_back_after_an_error(served: Any) -> None:
    move(served)
    weight = next(weight for name, weight in served.model.named_parameters() if "lora_B" in name)
    before = weight.detach().clone()
    inside = []

    def fail() -> None:
        with zeroed(served.model):
            inside.append(bool(weight.any()))
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert inside == [False]
    assert torch.equal(weight, before)


def test_hiding_engine_hides_it_from_wrapper_and_base_and_gives_it_back(served: Any) -> None:
    base, engine = served.model.base_model.model, object()
    served.model.vllm_engine = base.vllm_engine = engine
    with hiding_engine(served.model):
        assert not hasattr(served.model, "vllm_engine")
    assert vars(served.model)["vllm_engine"] is engine
    assert vars(base)["vllm_engine"] is engine


def loaded(longest: int) -> SimpleNamespace:
    config = SimpleNamespace(model_config=SimpleNamespace(max_model_len=longest))
    return SimpleNamespace(vllm_engine=SimpleNamespace(llm_engine=SimpleNamespace(vllm_config=config)))


def test_check_loaded_refuses_what_unsloth_only_prints() -> None:
    engine = Engine(0.5, 6144, 32)
    check_loaded(loaded(6144), engine)
    with pytest.raises(ModelError, match=r"rows of 6143 tokens, prompt and completion take 6144 \(got 0.5\); raise it"):
        check_loaded(loaded(6143), engine)
    with pytest.raises(ModelError, match="unsloth has no vLLM for this card or model"):
        check_loaded(SimpleNamespace(), engine)


def test_engine_of_has_room_for_prompt_and_completion() -> None:
    questions = {"train": {"path": "a.jsonl"}, "dev": {"path": "b.jsonl"}, "max_prompt_tokens": 3072}
    sections = {"model": {"name": "tiny"}, "data": questions, "lora": {"rank": 8}}
    local = schema.Recipe.model_validate(sections)
    assert engine_of(local) is None
    grpo = {"rollout_engine": "vllm", "max_completion_tokens": 1024, "vllm_memory_fraction": 0.4}
    assert engine_of(schema.Recipe.model_validate(sections | {"grpo": grpo})) == Engine(0.4, 4096, 8)


@pytest.mark.parametrize(
    ("here", "dtype", "said"),
    [
        (
            set(),
            "auto",
            r"through unsloth on CUDA only, and one of them is not here \(got model.backend auto\); set it to local",
        ),
        ({"unsloth"}, "auto", "through unsloth on CUDA only"),
        ({"cuda"}, "auto", "through unsloth on CUDA only"),
        ({"unsloth", "cuda"}, "auto", r"vLLM is not installed \(got vllm\); `make setup-gpu-vllm`"),
        ({"unsloth", "cuda", "vllm"}, "auto", r"needs a card that multiplies bfloat16 \(got an older one\)"),
        ({"unsloth", "cuda", "vllm"}, "float32", r"multiplies bfloat16 \(got model.dtype float32\)"),
    ],
    ids=["nothing", "unsloth", "cuda", "no vllm", "an old card", "another precision"],
)
def test_load_student_refuses_an_engine_before_anything_loads(
    here: set[str], dtype: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> object:
        return name in here or None

    def loads(*_: Any) -> None:
        raise AssertionError("it went on")

    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in here)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(students, "import_backend", loads)
    # as a stage settles `auto`
    model = schema.Model(name="tiny", backend="unsloth" if "unsloth" in here else "auto", dtype=dtype)
    with pytest.raises(ModelError, match=f"grpo.rollout_engine: .*{said}"):
        students.load_student(model, engine=Engine(0.5, 4096, 32))
