import pytest

pytest.importorskip("peft")

import torch

from mbt_lite.errors import MbtError, ModelError
from mbt_lite.recipe import schema
from mbt_lite.student.adapters import (
    add_adapter,
    check_rollouts_use_adapter,
    check_same_kind,
    load_with_adapter,
    save_adapter,
)

MESSAGES = [{"role": "user", "content": "think"}]


@pytest.fixture
def adapted(student):
    add_adapter(student, schema.Lora(rank=4, alpha=8), 0, gradient_checkpointing=False)
    return student


def move(student):
    with torch.no_grad():
        for name, parameter in student.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)


def test_check_rollouts_use_adapter_refuses_an_adapter_that_changes_nothing(adapted):
    with pytest.raises(ModelError, match="the adapter changes nothing"):
        check_rollouts_use_adapter(adapted, MESSAGES)


def test_check_rollouts_use_adapter_passes_a_trained_one_and_leaves_it_on(adapted):
    move(adapted)
    ids = torch.tensor([[5, 6, 7]])
    with adapted.rollout_model() as model, torch.inference_mode():
        before = model(input_ids=ids).logits
    check_rollouts_use_adapter(adapted, MESSAGES)
    with adapted.rollout_model() as model, torch.inference_mode():
        assert torch.equal(model(input_ids=ids).logits, before)


def test_save_adapter_is_loaded_by_plain_peft_with_equal_logits(adapted, tmp_path):
    from peft import PeftModel

    move(adapted)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        ours = adapted.model.eval()(input_ids=ids).logits
    save_adapter(adapted, tmp_path / "adapter")
    plain = PeftModel.from_pretrained(adapted.model.unload(), str(tmp_path / "adapter")).eval()
    with torch.inference_mode():
        assert torch.equal(plain(input_ids=ids).logits, ours)
    assert not (tmp_path / ".adapter.partial").exists()


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_load_with_adapter_continues_an_earlier_one(variant, student_folder, tmp_path):
    """What trains goes on from the earlier weights, every one of them, in 4 bits."""
    model = schema.Model(name=str(student_folder), dtype="float32", backend="transformers")
    lora = schema.Lora(rank=4, alpha=8, variant=variant)
    first = load_with_adapter(model, lora, 0, gradient_checkpointing=False)
    move(first)
    save_adapter(first, tmp_path / "adapter")
    continued = lora.model_copy(update={"continue_from": str(tmp_path / "adapter")})
    second = load_with_adapter(model, continued, 1, gradient_checkpointing=False)
    wanted, found = (
        {name: weight for name, weight in student.model.named_parameters() if weight.requires_grad}
        for student in (first, second)
    )
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rank": 2}, "rank is another .got 4.*set lora.rank to 4"),
        ({"variant": "dora"}, "variant is another .got lora"),
    ],
    ids=["rank", "variant"],
)
def test_load_with_adapter_refuses_an_earlier_one_of_another_kind(adapted, change, problem, tmp_path):
    save_adapter(adapted, tmp_path / "adapter")
    lora = schema.Lora(rank=4, alpha=8, continue_from=str(tmp_path / "adapter")).model_copy(update=change)
    with pytest.raises(ModelError, match=problem):
        check_same_kind(tmp_path / "adapter", lora)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ('{"r": ', "not JSON"),
        ('{"peft_type": "LORA", "r": "four"}', "`r` is not what was written .got str"),
        ('{"peft_type": "IA3"}', "not a LoRA adapter .got IA3"),
    ],
    ids=["cut", "of other types", "of another kind"],
)
def test_check_same_kind_tells_a_damaged_adapter_in_one_line(config, problem, tmp_path):
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(MbtError, match=problem) as refused:
        check_same_kind(tmp_path, schema.Lora())
    assert "\n" not in str(refused.value)
