"""Load the student: tokenizer, 4-bit model, adapter; by transformers + peft + bitsandbytes, or by unsloth.

What unsloth is told stands in `unsloth_backend.py`. Traps closed here (each has a test):
1. On CPUs with AVX512-BF16 bitsandbytes repacks 4-bit weights in place at the first forward pass without gradients, and
   later gradients are wrong. The switch is turned off on every layer right after loading.
2. A tokenizer without padding, or with padding equal to the end of the turn, teaches a model never to stop. Refused.
3. Adapters in bfloat16 hardly move at small learning rates. Trainable weights are float32.
4. A model's own generation_config.json (Qwen2.5 punishes repetition) fills what `generate` is not told, and log-probs
   are then not the policy's. Of it the special tokens are kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from mbt_lite.architecture.families import RANDOM_PREFIX
from mbt_lite.cards import precision_of
from mbt_lite.errors import MbtError, ModelError, is_of_the_machine
from mbt_lite.memory import in_phase, is_out_of_memory
from mbt_lite.recipe import schema
from mbt_lite.records import Message
from mbt_lite.screen import say
from mbt_lite.student import chat_template as chat
from mbt_lite.student import rollout_weights, unsloth_backend
from mbt_lite.student.backend import Backend, choose_backend, import_backend, refuse_unseen_card
from mbt_lite.student.embedded import PREFIX, embedded_folder
from mbt_lite.student.freed_memory import give_back_freed_memory
from mbt_lite.student.grouped_attention import repeat_keys
from mbt_lite.student.libraries import quieten_loading
from mbt_lite.student.random_weights import random_folder

_ANOTHER_MODEL = "give a hub id or a local folder as model.name, whole and of a kind that is known"


@dataclasses.dataclass(slots=True)
class Student:
    """A loaded model with its tokenizer; `model` is peft-wrapped iff it has an adapter.

    `has_engine`: vLLM reads the same weights (see `unsloth_backend`). `decode_graphs`: rollouts are to use CUDA graphs.
    """

    model: Any
    tokenizer: Any
    backend: Backend
    compute_dtype: torch.dtype
    has_engine: bool = False
    decode_graphs: bool = False
    _view: Any = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @property
    def pad_id(self) -> int:
        """The padding token."""
        return int(self.tokenizer.pad_token_id)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Every token that ends a completion: the tokenizer's end of turn and the model's own list."""
        listed = self.model.generation_config.eos_token_id
        listed = [] if listed is None else [listed] if isinstance(listed, int) else list(listed)
        return frozenset({int(self.tokenizer.eos_token_id), *listed})

    @property
    def prefills_think(self) -> bool:
        """Whether the chat template opens `<think>` itself."""
        return chat.prefills_think(self.tokenizer)

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Count the tokens of a prompt as the student reads it."""
        return chat.count_prompt_tokens(self.tokenizer, messages)

    @contextlib.contextmanager
    def rollout_model(self) -> Iterator[Any]:
        """Lend the model for generation, in eval mode: its view for rollouts (see `rollout_weights`), or unsloth's."""
        if self.backend == "transformers":
            if self._view is None:
                self._view = rollout_weights.build_view(self.model, self.compute_dtype)
                give_back_freed_memory()
            rollout_weights.refresh(self._view)
            yield self._view
            return
        was_training = self.model.training
        try:
            with unsloth_backend.generating(self.model):
                yield self.model.eval()
        finally:
            self.model.train(was_training)


def _check_engine(model: schema.Model) -> None:
    """Refuse vLLM on the student's weights where this machine cannot have it (ModelError)."""
    key = "grpo.rollout_engine"
    if choose_backend(model.backend) != "unsloth" or not torch.cuda.is_available():
        raise ModelError(
            f"{key}: vLLM shares weights through unsloth on CUDA only, and one of them is not here "
            f"(got model.backend {model.backend}); set it to local, or see `mbt-lite doctor`"
        )
    if importlib.util.find_spec("vllm") is None:
        raise ModelError(f"{key}: vLLM is not installed (got vllm); `make setup-gpu-vllm`, or set it to local")
    if choose_dtype(model.dtype) != torch.bfloat16:
        got = "an older one" if model.dtype == "auto" else f"model.dtype {model.dtype}"
        raise ModelError(f"{key}: vLLM needs a card that multiplies bfloat16 (got {got}); set it to local")


def choose_dtype(wanted: str) -> torch.dtype:
    """Resolve `model.dtype`: what a card multiplies natively, see `precision_of`; on a CPU bfloat16, else float32.

    Raises ModelError for float16 without a card: processors have neither its speed nor a scaler for its gradients.
    """
    if wanted == "float16" and not torch.cuda.is_available():
        raise ModelError("model.dtype: float16 is for cards (got no CUDA device); use bfloat16, float32 or auto")
    if wanted != "auto":
        return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[wanted]
    if torch.cuda.is_available():
        return getattr(torch, precision_of(torch.cuda.get_device_capability()))  # type: ignore[no-any-return]
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def folder_or_id(name: str) -> str:
    """Turn `model.name` into what transformers loads: the cache folder of an embedded or random model, else itself."""
    if name.startswith(RANDOM_PREFIX):
        return str(random_folder(name))
    return str(embedded_folder(name)) if name.startswith(PREFIX) else name


def load_tokenizer(model: schema.Model) -> Any:
    """Load the student's tokenizer alone.

    Raises ModelError when it cannot be found or its special tokens would teach the model never to stop.
    """
    import_backend(model.backend)
    from transformers import AutoTokenizer

    with loading(model.name):
        tokenizer = AutoTokenizer.from_pretrained(folder_or_id(model.name), trust_remote_code=False)
    check_tokenizer(tokenizer, model.name)
    return tokenizer


def check_tokenizer(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer without template, end of turn or padding, with padding that ends turns, or that loses tags."""
    if tokenizer.chat_template is None:
        raise ModelError(f"{name}: the tokenizer has no chat template; use an instruct model")
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise ModelError(
            f"{name}: the tokenizer lacks a special token (eos {tokenizer.eos_token}, pad {tokenizer.pad_token}); "
            "set it in the model folder's tokenizer_config.json"
        )
    if tokenizer.eos_token_id == tokenizer.pad_token_id:
        raise ModelError(
            f"{name}: padding equals the end of the turn (got {tokenizer.pad_token}), so stopping is never learned; "
            "set another pad_token in the model folder's tokenizer_config.json"
        )
    chat.check_tags(tokenizer, name)


@in_phase("load")
def load_student(
    model: schema.Model,
    adapter: Path | None = None,
    *,
    trainable: bool = False,
    gradient_checkpointing: bool = False,
    engine: unsloth_backend.Engine | None = None,
) -> Student:
    """Load the student, with an adapter from a folder if one is given, and with vLLM on its weights for an `engine`.

    `trainable` loads the adapter to be continued; it does nothing without one. `gradient_checkpointing` is for unsloth,
    which decides at loading; elsewhere the trainer does. Raises ModelError naming the model.
    """
    refuse_unseen_card()
    if engine is not None:
        _check_engine(model)
    if import_backend(model.backend) == "unsloth":
        student = _load_with_unsloth(model, adapter, gradient_checkpointing, engine)
    else:
        student = _load_with_transformers(model, adapter, trainable)
    chat.check_rows(student.tokenizer, student.model.get_input_embeddings().weight.shape[0], model.name)
    close_cpu_repacking(student.model)
    train_in_float32(student.model)
    decode_as_told(student.model)
    give_back_freed_memory()
    if student.device.type == "cuda":
        say(f"student: {model.name} by {student.backend} in {_precision(student)} on {_card_used()}")
    return student


def _precision(student: Student) -> str:
    return str(student.compute_dtype).removeprefix("torch.")


def _card_used() -> str:
    """Name the card of this process, and say so where others stay idle."""
    index, count = torch.cuda.current_device(), torch.cuda.device_count()
    name = torch.cuda.get_device_name(index)
    others = f", number {index} of {count}; CUDA_VISIBLE_DEVICES chooses another" if count > 1 else ""
    return f"{name}{others}"


def _load_with_transformers(model: schema.Model, adapter: Path | None, trainable: bool) -> Student:
    from transformers import AutoModelForCausalLM

    quieten_loading()
    dtype = choose_dtype(model.dtype)
    repeat_keys(dtype)
    tokenizer = load_tokenizer(model)
    with loading(model.name):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder_or_id(model.name),
            # transformers would ask at the terminal whether to run a stranger's code
            trust_remote_code=False,
            dtype=dtype,
            quantization_config=quantization_config(model, dtype),
            # of several GPUs the one of this process
            device_map={"": torch.cuda.current_device()} if torch.cuda.is_available() else None,
        )
    loaded.requires_grad_(False)
    if adapter is not None:
        from peft import PeftModel

        with loading(str(adapter), "it is damaged, or belongs to another model"):
            loaded = PeftModel.from_pretrained(
                loaded, str(adapter), is_trainable=trainable, autocast_adapter_dtype=True
            )
    return Student(loaded, tokenizer, "transformers", dtype, decode_graphs=model.decode_graphs)


def _load_with_unsloth(
    model: schema.Model, adapter: Path | None, gradient_checkpointing: bool, engine: unsloth_backend.Engine | None
) -> Student:
    quieten_loading()
    dtype = choose_dtype(model.dtype)
    with loading(model.name):
        loaded, tokenizer = unsloth_backend.load(
            folder_or_id(model.name),
            adapter,
            dtype,
            in_4bit=model.quantization == "nf4",
            gradient_checkpointing=gradient_checkpointing,
            engine=engine,
        )
    check_tokenizer(tokenizer, model.name)
    return Student(loaded, tokenizer, "unsloth", dtype, has_engine=engine is not None)


def quantization_config(model: schema.Model, dtype: torch.dtype) -> Any:
    """Map `model.quantization` to transformers' names; None for a model that is not packed."""
    if model.quantization == "none":
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


@contextlib.contextmanager
def loading(name: str, cure: str = _ANOTHER_MODEL) -> Iterator[None]:
    """Turn the many ways in which a model cannot be found or read into one line: all that runs here is other people's.

    Lack of memory, and what the machine refuses, pass: they have lines of their own.
    """
    try:
        yield
    except MbtError:
        raise
    except Exception as error:
        if is_out_of_memory(error) or is_of_the_machine(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{name}: cannot be loaded ({reason}); {cure}") from error


def close_cpu_repacking(model: torch.nn.Module) -> int:
    """Switch off bitsandbytes' in-place repacking on CPUs (trap 1); give the number of layers that had it."""
    layers: list[Any] = [module for module in model.modules() if hasattr(module, "support_avx512bf16_for_cpu")]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    return len(layers)


def decode_as_told(model: Any) -> None:
    """Drop all of a model's own way to decode but its special tokens (trap 4)."""
    from transformers import GenerationConfig

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    tokens = ("bos_token_id", "eos_token_id", "pad_token_id")
    base.generation_config = GenerationConfig(**{name: getattr(base.generation_config, name) for name in tokens})


def train_in_float32(model: torch.nn.Module) -> None:
    """Put every trainable weight into float32 (trap 3)."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()


@contextlib.contextmanager
def kept_in_float32(model: torch.nn.Module) -> Iterator[None]:
    """Keep trainable weights as they are while the block runs: TRL rounds the adapters of 4-bit models to bfloat16.

    Turning them back to float32 afterwards is not enough: an adapter that is continued would start rounded.
    """
    exact = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    yield
    train_in_float32(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in exact:
                weight.copy_(exact[name])
