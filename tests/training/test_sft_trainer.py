"""Our trainer against the plain computation, one row at a time, and against stock TRL over whole runs."""

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import Gemma3ForCausalLM, Gemma3TextConfig
from trl import SFTConfig, SFTTrainer

from mbt_lite.training.sft_trainer import CountingTrainer, RowTrainer, choose_trainer

# uneven, and no whole number of steps: 10 rows make two steps of 2 x 2 and one of a full and a half micro-batch
LENGTHS = [5, 30, 12, 3, 22, 9, 17, 40, 6, 11]


def make_dataset():
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(10, 250, (length,), generator=generator).tolist() for length in LENGTHS]
    masks = [[0] * (length // 2) + [1] * (length - length // 2) for length in LENGTHS]
    return Dataset.from_dict({"input_ids": ids, "completion_mask": masks})


@pytest.fixture
def tuned(student):
    """The tiny student with an adapter that does something."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    student.model = get_peft_model(student.model, config)
    return student


def make_trainer(kind, tuned, folder, **settings):
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 5} | settings
    config = SFTConfig(
        output_dir=str(folder), learning_rate=1e-2, logging_steps=1, max_length=None, bf16=False, report_to=[],
        disable_tqdm=True, use_cpu=True, seed=3, data_seed=3, completion_only_loss=True, dataloader_pin_memory=False,
        gradient_checkpointing=False, **{"save_strategy": "no", **settings},
    )  # fmt: skip
    return kind(model=tuned.model, args=config, train_dataset=make_dataset(), processing_class=tuned.tokenizer)


def adapter_of(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def put_back(model, adapter):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in adapter:
                weight.copy_(adapter[name])


def losses(trainer):
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def plain_step(model, rows):
    """Loss and gradients of the rows of a step, one at a time, by full logits."""
    total = sum(sum(row["completion_mask"]) for row in rows)
    loss = torch.zeros(())
    for row in rows:
        ids = torch.tensor(row["input_ids"])
        logs = model(input_ids=ids[None], use_cache=False).logits[0, :-1].log_softmax(dim=-1)
        trained = torch.tensor(row["completion_mask"][1:], dtype=torch.bool)
        loss = loss - logs.gather(1, ids[1:, None])[trained].sum() / total
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return loss.detach(), torch.autograd.grad(loss, weights)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
def test_a_step_has_the_loss_and_gradient_of_its_rows_one_at_a_time(tuned, tmp_path, checkpointing):
    expected_loss, expected = plain_step(tuned.model, list(make_dataset()))
    trainer = make_trainer(RowTrainer, tuned, tmp_path, per_device_train_batch_size=3, gradient_accumulation_steps=4)
    model = trainer.model.train()
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    batches, trained_tokens = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 4, trainer.args.device)
    assert [len(batch["row_lengths"]) for batch in batches] != [3, 3, 3, 1]
    loss = sum(trainer.training_step(model, batch, trained_tokens) for batch in batches)
    torch.testing.assert_close(loss, expected_loss)
    found = [weight.grad for weight in model.parameters() if weight.requires_grad]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_run_has_the_losses_of_stock_trl(tuned, tmp_path):
    start = adapter_of(tuned.model)
    stock = make_trainer(SFTTrainer, tuned, tmp_path / "stock")
    stock.train()
    stock_end = adapter_of(tuned.model)
    put_back(tuned.model, start)
    ours = make_trainer(RowTrainer, tuned, tmp_path / "ours")
    ours.train()
    assert losses(ours) == pytest.approx(losses(stock), rel=1e-4)
    assert len(losses(ours)) == 5
    for name, weight in adapter_of(tuned.model).items():
        torch.testing.assert_close(weight, stock_end[name], rtol=1e-3, atol=1e-4)
    # entropy and accuracy are means over micro-batches, whose rows are others
    tokens = [[row["num_tokens"] for row in trainer.state.log_history[:5]] for trainer in (ours, stock)]
    assert tokens[0] == tokens[1]


def test_a_dev_loss_is_that_of_stock_trl(tuned, tmp_path):
    found = [
        make_trainer(kind, tuned, tmp_path, per_device_eval_batch_size=5, prediction_loss_only=True).evaluate(
            make_dataset()
        )["eval_loss"]
        for kind in (SFTTrainer, RowTrainer)
    ]
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(tuned, tmp_path):
    start = adapter_of(tuned.model)
    whole = make_trainer(RowTrainer, tuned, tmp_path, save_strategy="steps", save_steps=2)
    whole.train()
    end = adapter_of(tuned.model)
    put_back(tuned.model, start)
    resumed = make_trainer(RowTrainer, tuned, tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert losses(resumed) == losses(whole)
    assert all(torch.equal(weight, end[name]) for name, weight in adapter_of(tuned.model).items())


def test_choose_trainer_leaves_unsloth_and_sliding_windows_to_trl(tuned):
    assert choose_trainer(tuned) is RowTrainer
    tuned.backend = "unsloth"
    assert choose_trainer(tuned) is CountingTrainer
    config = Gemma3TextConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=6, head_dim=8,
                              num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    tuned.backend = "transformers"
    tuned.model = get_peft_model(Gemma3ForCausalLM(config), LoraConfig(target_modules="all-linear"))
    assert choose_trainer(tuned) is SFTTrainer
