"""The memory of one moment, by cause: what a stage holds while it loads, rolls out, goes backward, steps, merges.

Follows the code as it runs: `student/loading.py` (4-bit weights, float32 adapters), `student/rollout_weights.py` (on a
CPU the linear layers are unpacked once for rollouts and stay), `generation/row_slots.py` (a prompt's cache is kept
once), AdamW with two float32 states (the trainers' default), TRL's vocabulary tiles, `training/logit_tiles.py`.

What is assumed, not counted:
1. CUDA's own context takes 0.5 GiB, more or less by driver and card.
2. On a CPU a training process grows by more than its tensors. Measured, not derived: `PROCESS_BYTES` by the first step
   (pages of libraries, buffers of threads, the trainer's own objects), and `HEAP_SHARE` of the activations of all
   layers, checkpointed or not: pieces of freed tensors in glibc's heap that later ones do not fit into. Another C
   library will differ.
3. Under unsloth, weights, adapter and KV cache are as here (every row keeps its prompt); activations and loss are
   unsloth's own and taken to be no larger than TRL's with plain checkpointing.
4. Token ids, masks and rewards of a step are left out: a few megabytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from mbt_lite.architecture.numbers import Architecture
from mbt_lite.architecture.storage import (
    PREFILL_TOKENS,
    kv_bytes_per_token,
    kv_cache_bytes,
    nf4_weights,
    prompt_slots,
)
from mbt_lite.errors import ModelError
from mbt_lite.plan.activations import (
    FLOAT32,
    Computing,
    MicroBatch,
    forward_bytes,
    head_tile_bytes,
    layer_input_bytes,
    layer_transient_bytes,
    logits_tile_bytes,
    mask_bytes,
    saved_by_layer,
)

_BFLOAT16 = 2
CUDA_CONTEXT = 2**29
# Fitted to two measured trainings of the embedded student (glibc 2.36, 2026-11-21); the others: recipes/RESULTS.md.
PROCESS_BYTES = 172 * 2**20
# Resident with torch, transformers, trl, peft, bitsandbytes and datasets imported, before a student is loaded.
LIBRARY_BYTES = 655 * 2**20
HEAP_SHARE = 0.2
# float32 first and second moments
_OPTIMIZER_BYTES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """What holds for every stage: the student, how it is stored, and where it runs; `rank` is the adapter's.

    `has_plain_lora`: neither DoRA nor dropout. `engine_bytes`: what vLLM may take of the card in grpo, the student's
    weights included; 0 without it. `backends` has the stages that take another than `backend` (see `in_stage`).
    """

    architecture: Architecture
    device: Literal["cpu", "cuda"]
    backend: Literal["transformers", "unsloth"]
    dtype_bytes: int
    is_quantized: bool
    rank: int
    has_plain_lora: bool = True
    engine_bytes: int = 0
    backends: Mapping[str, Literal["transformers", "unsloth"]] = dataclasses.field(default_factory=dict)

    def in_stage(self, stage: str) -> Setup:
        """Give the setup of a stage."""
        return dataclasses.replace(self, backend=self.backends.get(stage, self.backend))

    @property
    def computing(self) -> Computing:
        """How the trainers compute this student (see `training/lean_model.py`)."""
        is_lean = self.backend == "transformers" and not self.architecture.sliding_layers
        return Computing(packs_rows=is_lean, joins_lora=is_lean and self.has_plain_lora)


@dataclasses.dataclass(frozen=True, slots=True)
class Phase:
    """One moment of a stage: bytes by cause, none of them 0."""

    name: str
    causes: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """The whole."""
        return sum(self.causes.values())


def phase(name: str, *parts: Mapping[str, int]) -> Phase:
    """Put parts together, adding equal causes and dropping empty ones."""
    causes: dict[str, int] = {}
    for part in parts:
        for cause, size in part.items():
            causes[cause] = causes.get(cause, 0) + size
    return Phase(name, {cause: size for cause, size in causes.items() if size})


def weights(setup: Setup) -> dict[str, int]:
    """Give the loaded student: 4-bit linears, the rest in the compute precision, what CUDA or the libraries take."""
    a = setup.architecture
    held = {"weights": a.other_parameters * setup.dtype_bytes}
    if setup.is_quantized:
        held["4-bit weights"] = nf4_weights(a)
    else:
        held["weights"] += a.linear_weights * setup.dtype_bytes
    if setup.device == "cuda":
        return held | {"CUDA context": CUDA_CONTEXT}
    return held | {"libraries": LIBRARY_BYTES}


def adapter(setup: Setup) -> dict[str, int]:
    """Give the adapter in float32."""
    return {"adapter": setup.architecture.lora_parameters(setup.rank) * FLOAT32}


def training(setup: Setup) -> dict[str, int]:
    """Give what training adds to the adapter: gradients and AdamW's states."""
    parameters = setup.architecture.lora_parameters(setup.rank)
    return {"gradients": parameters * FLOAT32, "optimizer": parameters * _OPTIMIZER_BYTES}


def _rollout_view(setup: Setup, *, has_adapter: bool) -> dict[str, int]:
    """Give the second view of the linear layers that rollouts read (see `student/rollout_weights.py`)."""
    if setup.backend != "transformers":
        return {}
    a, on_cpu = setup.architecture, setup.device == "cpu"
    unpacked = a.linear_weights if setup.is_quantized and on_cpu else 0
    low_rank = a.lora_parameters(setup.rank) if has_adapter else 0
    # the output head is laid out anew, and adapters of layers that are one product are padded with zeros
    unpacked += a.vocabulary * a.hidden if on_cpu and setup.dtype_bytes == _BFLOAT16 else 0
    return {"rollout weights": (unpacked + (2 if on_cpu else 1) * low_rank) * setup.dtype_bytes}


def _mapped_files(setup: Setup) -> dict[str, int]:
    """Give the 16-bit linear weights of the files on a CPU: they stay mapped beside norms that are used in place."""
    in_place = setup.device == "cpu" and setup.is_quantized and setup.dtype_bytes == _BFLOAT16
    return {"files": setup.architecture.linear_weights * _BFLOAT16} if in_place else {}


def load(setup: Setup) -> Phase:
    """Give the moment of loading: the last weight is still there in 16 bits when it has become 4-bit."""
    largest = max(linear.weights for linear in setup.architecture.linears) * _BFLOAT16
    return phase("load", weights(setup), _mapped_files(setup), {"activations": largest})


def rollout(
    setup: Setup,
    *,
    rows: int,
    samples: int,
    prompt_tokens: int,
    completion_tokens: int,
    has_adapter: bool,
    is_training: bool = False,
) -> Phase:
    """Give rollouts in so many rows, or a prefill if that is larger: G samples of each prompt.

    In slots (`generation/row_slots.py`) R rows keep R·T tokens, and the prompts that they may need at once S each; by
    the library whole prompts go together, and each row keeps its own. `is_training`: the optimizer's states are there,
    from the second step on.
    """
    a, c = setup.architecture, setup.dtype_bytes
    tokens = prompt_tokens + completion_tokens
    held = weights(setup) | (adapter(setup) if has_adapter else {}) | _rollout_view(setup, has_adapter=has_adapter)
    if is_training:
        held["optimizer"] = training(setup)["optimizer"]
    if setup.computing.packs_rows:
        slots = prompt_slots(rows, samples)
        cache = (slots * prompt_tokens + rows * completion_tokens) * kv_bytes_per_token(a.layers, a.kv_size, c)
        prefilled, masks = prompt_tokens * min(slots, max(1, PREFILL_TOKENS // prompt_tokens)), 0
    else:
        rows = max(1, rows // samples) * samples
        cache = rows * kv_cache_bytes(a, tokens, c)
        prefilled, masks = rows * prompt_tokens, mask_bytes(rows, prompt_tokens, c)
    # scores in float32, their softmax, and their copy in the compute precision or before the mask
    scores = rows * a.heads * tokens * FLOAT32 * 3
    # logits, the same in float32, and probabilities twice, for they are padded to blocks
    drawing = rows * a.vocabulary * (c + 3 * FLOAT32)
    passing = prefilled * kv_bytes_per_token(a.layers, a.kv_size, c)
    moments = (
        {"KV cache": cache, "activations": forward_bytes(a, prefilled, c) + masks + passing},
        {"KV cache": cache, "logits": drawing},
        {"KV cache": cache, "activations": scores},
    )
    return phase("rollout", held, _mapped_files(setup), max(moments, key=lambda moment: sum(moment.values())))


def engine_rollout(setup: Setup) -> Phase:
    """Give rollouts by vLLM, from the second step on: its share has their cache (see `beside_engine`)."""
    return phase("rollout", weights(setup), adapter(setup), {"optimizer": training(setup)["optimizer"]})


def beside_engine(setup: Setup, one: Phase) -> Phase:
    """Add what vLLM holds in every phase: its share, less the weights in it, which are counted already.

    Raises ModelError where the weights alone take more than the share.
    """
    if not setup.engine_bytes:
        return one
    shared = sum(size for cause, size in weights(setup).items() if cause != "CUDA context")
    if shared > setup.engine_bytes:
        raise ModelError(
            f"grpo.vllm_memory_fraction: the student's weights alone take {shared / 2**30:.2f} GiB (got a share of "
            f"{setup.engine_bytes / 2**30:.2f} GiB); raise it"
        )
    return phase(one.name, one.causes, {"vLLM": setup.engine_bytes - shared})


def backward(setup: Setup, batch: MicroBatch, *, checkpointing: bool, rolls_out: bool) -> Phase:
    """Give the peak between a forward and its backward pass of a micro-batch.

    It is either at the head, with the tile of logits, or in a layer that is computed anew. `rolls_out`: the stage has
    made rollouts before and keeps their view of the weights.
    """
    a, c, n = setup.architecture, setup.dtype_bytes, batch.computed_tokens
    layer = saved_by_layer(a, setup.rank, c, batch, setup.computing)
    kept = a.layers * (n * layer_input_bytes(a, c) if checkpointing else layer) + _masks(setup, batch)
    held = weights(setup) | adapter(setup) | training(setup)
    held |= _rollout_view(setup, has_adapter=True) if rolls_out else {}
    inside = layer_transient_bytes(a, n, c, setup.computing) + (layer if checkpointing else 0)
    at_head, in_layer = {"activations": kept, "logits": _tile(setup, batch)}, {"activations": kept + inside}
    heap = {"process": PROCESS_BYTES, "heap": int(HEAP_SHARE * a.layers * layer)} if setup.device == "cpu" else {}
    larger = max(at_head, in_layer, key=lambda moment: sum(moment.values()))
    return phase("backward", held, _mapped_files(setup), larger, heap)


def log_probs(setup: Setup, batch: MicroBatch) -> Phase:
    """Give the pass of the reference model: forward only, over a second copy of the adapter."""
    a, c = setup.architecture, setup.dtype_bytes
    held = weights(setup) | training(setup) | {"adapter": 2 * adapter(setup)["adapter"]}
    held |= _rollout_view(setup, has_adapter=True)
    inside = forward_bytes(a, batch.computed_tokens, c)
    return phase("log-probs", held, _mapped_files(setup), {"activations": inside, "logits": _tile(setup, batch)})


def _masks(setup: Setup, batch: MicroBatch) -> int:
    """Give the masks of attention that all layers share: of padded rows, or of completions behind a shared prompt."""
    if not setup.computing.packs_rows:
        return mask_bytes(batch.rows, batch.tokens, setup.dtype_bytes) if batch.rows > 1 else 0
    seen = batch.prompt_tokens + batch.trained_tokens
    return batch.rows * batch.trained_tokens * seen if batch.prompt_tokens else 0


def _tile(setup: Setup, batch: MicroBatch) -> int:
    """Give what the head holds at once: a Triton kernel and our head score trained tokens only, TRL's elsewhere all."""
    a, c, trained = setup.architecture, setup.dtype_bytes, batch.rows * batch.trained_tokens
    if setup.device == "cuda":
        return logits_tile_bytes(a, trained, c, on_cpu=False)
    if setup.computing.packs_rows:
        return head_tile_bytes(a, trained, c)
    return logits_tile_bytes(a, batch.rows * batch.tokens, c, on_cpu=True)


def optimizer(setup: Setup, *, rolls_out: bool) -> Phase:
    """Give the step: gradients are clipped and applied, activations are gone."""
    held = weights(setup) | adapter(setup) | training(setup)
    view = _rollout_view(setup, has_adapter=True) if rolls_out else {}
    return phase("optimizer", held, _mapped_files(setup), view)


def merge(setup: Setup) -> Phase:
    """Give a merge of the adapter into 16-bit weights, in the machine's memory."""
    return phase("merge", {"weights": setup.architecture.parameters * _BFLOAT16}, adapter(setup))
