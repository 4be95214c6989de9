"""A stage's peaks on a card, simulated: the layers that train and roll out here, on tensors without data.

torch's FakeTensorMode runs every operation for its shapes alone, and a tracker adds up the storages that live; so a 4B
student at full length takes a minute of one core and no memory, and seconds by two and three of its layers. Real are
transformers' model, peft's adapter, packed attention, joined LoRA, checkpointing, the shared-prefix cache, and TRL's
head. Stand-ins are two, with the allocations of what runs on CUDA: bitsandbytes' 4-bit layer (unpacks the weight,
multiplies) and the choice of trained positions in TRL's head, whose Triton kernels allocate nothing.

Left out: CUDA's context, what cuBLAS takes to work in (tens of megabytes), what loading holds for a moment. The tensors
are the CPU's, as a build without CUDA allows no others: attention is torch's fused one, as on a card.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import types
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import QuantState
from peft import get_peft_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, DynamicCache
from trl.kernels import chunked_logprob

from mbt_lite.architecture.numbers import Architecture
from mbt_lite.architecture.storage import PREFILL_TOKENS, prompt_slots
from mbt_lite.generation import shared_prefix
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.sampling import sample, uniform
from mbt_lite.generation.shared_prefix import SlotCache
from mbt_lite.plan.activations import MicroBatch
from mbt_lite.plan.stages import Lengths, grpo_batch, grpo_rollout, sft_batch
from mbt_lite.plan.student_files import read_architecture
from mbt_lite.recipe.schema import Recipe
from mbt_lite.student.adapters import to_lora_config
from mbt_lite.student.loading import train_in_float32
from mbt_lite.student.random_weights import to_config
from mbt_lite.training import packed_attention
from mbt_lite.training.lora_linear import frozen_weight, join_lora

# CUDA's allocator gives multiples of this.
_BLOCK = 512
_HEAD_ENTRIES = 32768
_PRECISION = torch.bfloat16


class LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The bytes of all storages made under this mode that still live, and the most since the last mark."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return made

    def mark(self) -> int:
        """Give the peak since the last mark and start anew."""
        peak, self.peak = self.peak, self.live
        return peak

    def _see(self, storage: Any) -> None:
        if storage._cdata in self._seen:
            return
        size = -(-storage.nbytes() // _BLOCK) * _BLOCK
        self.live += size
        self.peak = max(self.peak, self.live)
        self._seen[storage._cdata] = weakref.ref(storage, functools.partial(self._forget, storage._cdata, size))

    def _forget(self, key: int, size: int, _: Any) -> None:
        del self._seen[key]
        self.live -= size


class Packed4bit(nn.Linear):
    """Stands in for bitsandbytes' layer on CUDA, where long inputs meet the unpacked weight."""

    def pack(self) -> None:
        """Put the weight's 4-bit form in its place: codes, their scales in 8 bits, the scales of these."""
        count = self.in_features * self.out_features
        scales = -(-count // 64)
        make: Any = QuantState
        outer = make(torch.empty(-(-scales // 256)), code=torch.empty(256), blocksize=256, dtype=torch.float32)
        packed: Any = nn.Parameter(torch.empty((count // 2, 1), dtype=torch.uint8), requires_grad=False)
        packed.quant_state = make(
            torch.empty(scales, dtype=torch.uint8), torch.Size((self.out_features, self.in_features)), torch.empty(16),
            64, "nf4", _PRECISION, torch.empty(()), outer,
        )  # fmt: skip
        self.weight = packed

    def forward(self, x: Tensor) -> Tensor:
        """Unpack and multiply."""
        return nn.functional.linear(x, frozen_weight(self, x.dtype), self.bias)


def build(architecture: Architecture, recipe: Recipe, *, checkpointing: bool) -> Any:
    """Make the student with its adapter as the trainers on a card have it."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(to_config(architecture), dtype=_PRECISION).requires_grad_(False)
        for name, module in list(model.named_modules()):
            if recipe.model.quantization == "nf4" and isinstance(module, nn.Linear) and name != "lm_head":
                parent, _, child = name.rpartition(".")
                packed = Packed4bit(module.in_features, module.out_features, module.bias is not None, dtype=_PRECISION)
                setattr(model.get_submodule(parent), child, packed.requires_grad_(False))
        model = get_peft_model(model, to_lora_config(recipe.lora))
    train_in_float32(model)
    packed_attention.enable(model)
    join_lora(model)
    if checkpointing:
        # there is no state of a generator to keep
        model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        model.enable_input_require_grads()
    _put_head(model.get_base_model())
    return model.train()


def _place(model: Any) -> None:
    """Give the weights and buffers of a model without memory storages that are counted; tied ones one between them."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            # that weight is put in its place packed
            if weight is not None and not (isinstance(module, Packed4bit) and name == "weight"):
                fresh = nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype), weight.requires_grad)
                module._parameters[name] = made.setdefault(id(weight), fresh)
        for name, buffer in module._buffers.items():
            module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
        if isinstance(module, Packed4bit):
            module.pack()


@contextlib.contextmanager
def _triton() -> Iterator[None]:
    """Let TRL's head fold its tiles without allocating, as its Triton kernels and CUDA's products do."""
    names = ("_forward_tile", "_backward_tile", "_addmm_fp32")
    before = {name: getattr(chunked_logprob, name) for name in names}
    try:
        for name in names:
            setattr(chunked_logprob, name, lambda *_, **__: None)
        yield
    finally:
        for name, function in before.items():
            setattr(chunked_logprob, name, function)


def _put_head(model: Any) -> None:
    """Give the model TRL's head as it is on CUDA: the positions are given, for a mask would have to be read."""

    def score(self: Any, positions: Tensor, **inputs: Any) -> Tensor:
        hidden = self.base_model(**inputs).last_hidden_state[0, positions]
        targets = torch.zeros_like(positions)
        outputs = chunked_logprob.ChunkedLogProbFunction.apply(  # type: ignore[no-untyped-call]
            hidden, self.get_output_embeddings().weight, None, targets, 1.0, _HEAD_ENTRIES
        )
        return outputs[0]  # type: ignore[no-any-return]

    model.score = types.MethodType(score, model)


def train_on(model: Any, batch: MicroBatch) -> None:
    """Go forward and backward over a micro-batch, with gradients of an earlier one there."""
    prompt, own = [0] * batch.prompt_tokens, [0] * (batch.trained_tokens if batch.shared_prompts else batch.tokens)
    prompts = batch.shared_prompts or batch.rows
    shares = [batch.rows // prompts + (index < batch.rows % prompts) for index in range(prompts)]
    packed = packed_attention.pack([(prompt, [own] * share) for share in shares], torch.device("cpu"))
    scored = [
        start + place
        for start, end in _segments(packed, batch)
        for place in range(end - start - batch.trained_tokens, end - start)
    ]
    log_probs = model.get_base_model().score(torch.tensor(scored), **packed.forward_arguments())
    log_probs.mean().backward()


def _segments(packed: packed_attention.PackedSequence, batch: MicroBatch) -> Iterator[tuple[int, int]]:
    """Give the stretches of a packed sequence that end in trained tokens."""
    for segment in packed.layout:
        if segment.mask is not None or not batch.prompt_tokens:
            yield segment.start, segment.end


class Rollouts:
    """A batch of rollouts in slots (`generation/row_slots.py`), of which every look at a number is left out."""

    def __init__(self, model: Any, rows: int, samples: int, prompt_tokens: int, completion_tokens: int) -> None:
        self.model, self.completion_tokens = model.get_base_model(), completion_tokens
        slots, layers = prompt_slots(rows, samples), self.model.config.num_hidden_layers
        like = torch.empty(0, dtype=_PRECISION)
        self.cache = SlotCache(layers, samples, (slots, prompt_tokens), (rows, completion_tokens), like)
        # the view of rollouts keeps the adapters in 16 bits
        self.adapters = [weight.detach().to(_PRECISION) for weight in model.parameters() if weight.requires_grad]

    def prefill(self) -> None:
        """Compute as many prompts as go at once; the slots have room since the first of them."""
        slots, width = self.cache.prompt_room
        some = min(slots, max(1, PREFILL_TOKENS // width))
        self._admit(1)
        self._admit(some)

    def decode(self) -> None:
        """Draw the last token of all completions."""
        cache = self.cache
        cache.width, cache.prompt_width = self.completion_tokens, cache.prompt_room[1]
        cache.mask_columns()
        ids = torch.zeros((len(cache.rows), 1), dtype=torch.long)
        logits = self._pass(self.model, cache, ids, logits_to_keep=1, shared_prefix=cache).logits[:, -1]
        decoding = Decoding(max_completion_tokens=self.completion_tokens, temperature=1.0)
        sample(logits, decoding, uniform(cache.rows, cache.columns))

    def _admit(self, some: int) -> None:
        prefilled, width = DynamicCache(), self.cache.prompt_room[1]
        self._pass(self.model.base_model, prefilled, torch.zeros((some, width), dtype=torch.long))
        self.cache.store(prefilled, list(range(some)), [width] * some)

    @torch.no_grad()
    def _pass(self, model: Any, cache: Any, ids: Tensor, **inputs: Any) -> Any:
        with shared_prefix.attending(self.model):
            return model(input_ids=ids, position_ids=ids, past_key_values=cache, use_cache=True, **inputs)


def simulate(stage: str, recipe: Recipe, lengths: Lengths, architecture: Architecture) -> dict[str, int]:
    """Give the peak of each moment of a steady step of sft or grpo, in bytes without CUDA's context.

    Each is linear in the number of layers; rollouts have two, prefill and decoding (see `by_phase`).
    """
    settings: Any = getattr(recipe, stage)
    model = build(architecture, recipe, checkpointing=settings.gradient_checkpointing)
    with _triton(), FakeTensorMode(), LiveStorages() as live:
        _place(model)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        states = [torch.zeros_like(weight) for weight in trained for _ in range(2)]
        live.mark()
        peaks = {}
        if stage == "grpo":
            model.eval()
            rollouts = Rollouts(model, **grpo_rollout(recipe, lengths))
            rollouts.prefill()
            peaks["prefill"] = live.mark()
            rollouts.decode()
            peaks["decoding"] = live.mark()
            states += rollouts.adapters
            del rollouts
            model.train()
        for weight in trained:
            weight.grad = torch.zeros_like(weight)
        live.mark()
        train_on(model, sft_batch(recipe, lengths) if stage == "sft" else grpo_batch(recipe, lengths, shares=True))
        peaks["backward"] = live.mark()
        assert len(states) >= 2 * len(trained)
        peaks["optimizer"] = live.mark()
    return peaks


def simulate_by_layers(stage: str, recipe: Recipe, lengths: Lengths, architecture: Architecture) -> dict[str, int]:
    """Give what `simulate` gives, from students of two and of three such layers: in seconds, and equal to 0.1 %."""
    few, more = (
        simulate(stage, recipe, lengths, dataclasses.replace(architecture, layers=layers)) for layers in (2, 3)
    )
    return {moment: size + (architecture.layers - 2) * (more[moment] - size) for moment, size in few.items()}


def by_phase(peaks: Mapping[str, int]) -> dict[str, int]:
    """Join the moments of rollouts, as a plan does.

    >>> by_phase({"prefill": 1, "decoding": 2, "backward": 3})
    {'rollout': 2, 'backward': 3}
    """
    phases: dict[str, int] = {}
    for moment, size in peaks.items():
        phase = "rollout" if moment in ("prefill", "decoding") else moment
        phases[phase] = max(size, phases.get(phase, 0))
    return phases


def main(request_file: str, result_file: str) -> None:
    """Simulate what the request asks for and write the peaks: bytes by phase."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    recipe = Recipe.model_validate_json(json.dumps(request["recipe"]))
    architecture = read_architecture(recipe.model.name)
    run = simulate if request["whole"] else simulate_by_layers
    peaks = by_phase(run(request["stage"], recipe, Lengths(**request["lengths"]), architecture))
    Path(result_file).write_text(json.dumps(peaks), encoding="utf-8")
