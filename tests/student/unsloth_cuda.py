"""Run as a script by test_unsloth_configs: unsloth's CUDA trainers, generated and run on a CPU.

`UNSLOTH_ALLOW_CPU=1` is unsloth's own switch: it takes its CUDA branches without a card. What asks for a card is
answered here with one (24 GiB, capability 8.6), and tensors for it are put on the CPU. Three of its kernels are put in
torch, so this shows settings, rows and batches, not its numbers.

Arguments: folder of a tiny student, recipe, folder to write to.
"""

import dataclasses
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["UNSLOTH_ALLOW_CPU"] = "1"
# its loss would be compiled, which takes minutes and shows nothing here
os.environ["TORCHDYNAMO_DISABLE"] = "1"

from mbt_lite.student.libraries import prepare

prepare()

import torch  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

CARD = SimpleNamespace(name="none", total_memory=24 << 30, major=8, minor=6, multi_processor_count=82, gcnArchName="")


class OnCPU(TorchFunctionMode):
    """Put on the CPU what asks for a card."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if isinstance(named.get("device"), int):
            named["device"] = "cpu"
        if func in (torch.device, torch.Tensor.to) and type(args[-1]) is int:
            # with the number, which it keeps tables by
            args = (*args[:-1], "cpu:0")
        return func(*map(here, args), **{key: here(value) for key, value in named.items()})


def here(value: Any) -> Any:
    is_card = isinstance(value, torch.device | str) and str(value).startswith("cuda")
    return torch.device("cpu") if is_card else value


def pretend_a_card() -> None:
    cuda: Any = torch.cuda
    cuda.get_device_properties = lambda *_: CARD
    cuda.get_device_capability = lambda *_: (8, 6)
    cuda.get_device_name = lambda *_: CARD.name
    cuda.mem_get_info = lambda *_: (20 << 30, 24 << 30)
    for name in ("max_memory_reserved", "current_device"):
        setattr(cuda, name, lambda *_: 0)
    cuda.synchronize = lambda *_: None


def generate_trainers() -> dict[str, Any]:
    """Have unsloth write its trainers, as it does on a card when it is imported; give TRL's own configurations."""
    import unsloth
    import unsloth.models.llama
    import unsloth.models.rl as rl
    from trl import GRPOConfig, SFTConfig
    from unsloth.trainer import _patch_trl_trainer

    # how many cards its rotary embedding keeps tables for
    unsloth.models.llama.DEVICE_COUNT = 1
    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    rl.PatchFastRL(None, unsloth.FastLanguageModel)
    _patch_trl_trainer()
    return {"sft": SFTConfig, "grpo": GRPOConfig}


def put_kernels_in_torch() -> None:
    """Compute in torch what unsloth's llama computes in Triton, which is not here: norms, rotary positions, sharing."""
    import unsloth.models.llama as llama
    import unsloth.utils.prefix_grouper_kernel as kernel
    from torch.nn.attention.flex_attention import create_mask
    from torch.nn.functional import scaled_dot_product_attention

    def norm(layer: Any, x: Any, *_: Any, **__: Any) -> Any:
        return layer.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + layer.variance_epsilon))

    def turn(x: Any, cos: Any, sin: Any) -> Any:
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

    def rotary(query: Any, key: Any, cos: Any, sin: Any, positions: Any = None) -> Any:
        cos, sin = cos.squeeze(), sin.squeeze()
        where = torch.arange(query.shape[2])[None] if positions is None else positions.view(-1, query.shape[2]).long()
        cos, sin = cos[where][:, None], sin[where][:, None]
        return turn(query, cos, sin), turn(key, cos, sin)

    def attend(query: Any, key: Any, value: Any, *, block_mask: Any, scale: Any, enable_gqa: bool, **_: Any) -> Any:
        tokens = query.shape[2]
        seen = create_mask(block_mask.mask_mod, 1, 1, tokens, tokens, device="cpu")
        # padding sees itself, or nothing would be no number
        seen = seen | torch.eye(tokens, dtype=torch.bool)
        return scaled_dot_product_attention(query, key, value, seen, scale=scale, enable_gqa=enable_gqa)

    llama.fast_rms_layernorm, llama.fast_rope_embedding = norm, rotary
    # flex attention has no backward pass on a CPU
    kernel.flex_attention = kernel._flex_attention_compiled = attend


def plain(config: Any) -> dict[str, Any]:
    return {name: repr(value) for name, value in sorted(vars(config).items())}


class Seen:
    """What a model is given in training: real tokens, and all that pass the layers."""

    def __init__(self, model: torch.nn.Module, pad_id: int) -> None:
        self.pad_id, self.batches = pad_id, list[tuple[int, int]]()
        model.register_forward_pre_hook(self.see, with_kwargs=True)

    def see(self, model: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if torch.is_grad_enabled():
            ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
            self.batches.append((int((ids != self.pad_id).sum()), ids.numel()))


def load(folder: str, recipe: Any) -> Any:
    from unsloth import FastLanguageModel

    from mbt_lite.student.adapters import add_adapter
    from mbt_lite.student.loading import Student

    model, tokenizer = FastLanguageModel.from_pretrained(
        folder, max_seq_length=2048, dtype=torch.float32, load_in_4bit=False, use_exact_model_name=True,
        use_gradient_checkpointing=False,
    )  # fmt: skip
    model._unsloth_forced_float32 = True
    student = Student(model, tokenizer, "unsloth", torch.float32)
    add_adapter(student, recipe.lora, 0, gradient_checkpointing=False)
    return student


def train_sft(student: Any, recipe: Any, folder: Path) -> dict[str, Any]:
    from mbt_lite.bench.uneven_traces import uneven_traces
    from mbt_lite.student.loading import kept_in_float32
    from mbt_lite.training import sft
    from mbt_lite.training.rows import encode_traces

    rows = encode_traces(uneven_traces(16, seed=0), student.tokenizer, recipe.sft.max_sequence_tokens).rows
    with kept_in_float32(student.model):
        trainer, log = sft.build_trainer(recipe, student, rows, (), folder, console(), lambda *_: None)
    seen = Seen(student.model.get_base_model(), student.pad_id)
    trainer.train()
    log.close()
    return {
        "args": plain(trainer.args),
        "class": [one.__name__ for one in type(trainer).mro()],
        "batches": seen.batches,
    }


def train_grpo(student: Any, recipe: Any, folder: Path) -> dict[str, Any]:
    from mbt_lite.data.synthetic import FILES, generate_questions
    from mbt_lite.methods import choose_method
    from mbt_lite.student.loading import kept_in_float32
    from mbt_lite.training import grpo

    settings, method = recipe.grpo, choose_method(recipe.grpo)
    rows = method.rows(generate_questions(FILES[0])[: settings.prompts_per_step * settings.steps])
    said = console()
    with kept_in_float32(student.model):
        trainer, log, _ = grpo.build_trainer(
            settings, method, student, rows, grpo.build_scorer(settings, student), folder, said, 0, (), lambda *_: None
        )
    trainer.reward_funcs = [Rewards(settings)]
    lengths: list[int] = []
    trainer.rollout_func = uneven_rollouts(student, settings, lengths)
    groups: list[list[list[int]]] = []
    whole = trainer._generate_and_score_completions

    def kept(inputs: Any) -> Any:
        scored = whole(inputs)
        groups.append([row[row != student.pad_id].tolist() for row in scored["prompt_ids"]])
        return scored

    trainer._generate_and_score_completions = kept
    seen = Seen(student.model.get_base_model(), student.pad_id)
    weights = [moved(student)]
    steps: list[int] = []

    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            weights.append(moved(student))
            steps.append(len(seen.batches))

    trainer.add_callback(Steps())
    trainer.train()
    log.close()
    return {
        "args": plain(trainer.args), "class": [one.__name__ for one in type(trainer).mro()], "batches": seen.batches,
        "batches_after_step": steps, "weights": weights, "completions": lengths,
        "prompts": [len(row) for row in groups[0]],
        "told": said.file.getvalue(),
    }  # fmt: skip


def moved(student: Any) -> float:
    """Sum all trained weights, to tell whether a step changed them."""
    return float(sum(weight.double().abs().sum() for weight in student.model.parameters() if weight.requires_grad))


class Rewards:
    """Rewards by place: in a first step half of the groups have a spread, in a second none has."""

    __name__ = "rewards"

    def __init__(self, settings: Any) -> None:
        self.settings, self.step = settings, 0

    def __call__(self, completions: Any, **_: Any) -> list[float]:
        self.step += 1
        size = self.settings.group_size
        return [float(self.step == 1 and (i // size) % 2 and i % 2) for i in range(len(completions))]


def uneven_rollouts(student: Any, settings: Any, lengths: list[int]) -> Any:
    """Write completions from 2 tokens to the limit, a long one in each group, that end by themselves."""
    from mbt_lite.student.chat_template import prompt_ids

    def roll_out(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        most = settings.max_completion_tokens
        counts = [2 + (i * 7919) % (most // 3) if i % settings.group_size else most for i in range(len(prompts))]
        lengths.extend(counts)
        ends = student.tokenizer.eos_token_id
        asked = [prompt_ids(student.tokenizer, prompt) for prompt in prompts]
        written = [[5 + (i + place) % 40 for place in range(count - 1)] + [ends] for i, count in enumerate(counts)]
        return {
            "prompt_ids": asked, "completion_ids": written, "logprobs": None,
            "log_probs": [plain_log_probs(student, *row) for row in zip(asked, written, strict=True)],
        }  # fmt: skip

    return roll_out


def plain_log_probs(student: Any, prompt: list[int], completion: list[int]) -> list[float]:
    """Compute a row alone, by the weights as they are, without the adapter's zeros: nothing of unsloth's loss."""
    with torch.no_grad():
        hidden = student.model.get_base_model().model(input_ids=torch.tensor([[*prompt, *completion]]))[0]
        logits = student.model.get_output_embeddings()(hidden)[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0].tolist()


def console() -> Any:
    from mbt_lite.console import Screen

    return Screen(file=io.StringIO(), width=300)


def main(student_folder: str, recipe_file: str, out: str) -> None:
    pretend_a_card()
    stock = generate_trainers()
    put_kernels_in_torch()
    OnCPU().__enter__()
    from mbt_lite.recipe import load_recipe
    from mbt_lite.training import grpo, sft

    folder = Path(out)
    recipe = load_recipe(Path(recipe_file), [])
    told: dict[str, Any] = {}
    for stage, train in (("sft", train_sft), ("grpo", train_grpo)):
        (folder / stage).mkdir()
        told[stage] = train(load(student_folder, recipe), recipe, folder / stage)
    # the same mapping into TRL's own classes
    own: dict[str, Any] = {name: made for name, made in stock.items()}
    sft.SFTConfig, grpo.GRPOConfig = own["sft"], own["grpo"]
    shipped = load_recipe(Path(recipe_file), [])
    told["sft"]["wanted"] = plain(sft.to_sft_config(shipped, folder / "sft", torch.float32, "unsloth"))
    told["grpo"]["wanted"] = plain(grpo.to_grpo_config(shipped.grpo, folder / "grpo", torch.float32, "unsloth"))
    for stage, config in own.items():
        told[stage]["fields"] = sorted(field.name for field in dataclasses.fields(config))
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
