"""Completions of many prompts by vLLM in this process, for eval where it is installed. Not run on our machines yet.

vLLM loads the student in 16 bit (its weights are not our 4-bit ones: answers can differ from the local engine's) and
applies the adapter as a LoRA request. The same seed, prompts and machine give the same rollouts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from mbt_lite.errors import ModelError
from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.recipe import schema
from mbt_lite.records import Message
from mbt_lite.student.embedded import PREFIX


class VllmEngine:
    """A model in vLLM, with at most one adapter."""

    def __init__(self, model: schema.Model, adapter: Path | None, max_sequence_tokens: int) -> None:
        """Load the model; ModelError where vLLM is missing or cannot take it."""
        if importlib.util.find_spec("vllm") is None:
            raise ModelError(
                "eval.engine: vLLM is not installed (got vllm); `make setup-gpu-vllm`, set it to local, or serve the "
                "student and name it in `eval.student.base_url`"
            )
        if model.name.startswith(PREFIX):
            raise ModelError(f"eval.engine: vLLM needs a hub id or a folder (got {model.name}); set it to local")
        import vllm

        self._vllm = vllm
        self._llm: Any = vllm.LLM(
            model=model.name,
            dtype="auto" if model.dtype == "auto" else model.dtype,
            enable_lora=adapter is not None,
            max_lora_rank=_rank(adapter) if adapter else 16,
            max_model_len=max_sequence_tokens,
        )
        self._adapter = adapter

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        decoding: Decoding,
        wanted: Container[int],
    ) -> Iterator[Rollout]:
        """Complete the wanted prompts as `generate` does; `batch_size` prompts go in at once."""
        assert not decoding.log_probs, "vLLM's log-probabilities are not read"
        indices = [index for index in range(len(prompts)) if index in wanted]
        sampling = self._vllm.SamplingParams(
            n=decoding.samples,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            # its word for "off"
            top_k=decoding.top_k or -1,
            max_tokens=decoding.max_completion_tokens,
            seed=decoding.seed,
        )
        lora = None
        if self._adapter is not None:
            from vllm.lora.request import LoRARequest

            lora = LoRARequest("student", 1, str(self._adapter))
        for start in range(0, len(indices), decoding.batch_size):
            batch = indices[start : start + decoding.batch_size]
            asked: list[Any] = [list(prompts[index]) for index in batch]
            outputs = self._llm.chat(asked, sampling, lora_request=lora, use_tqdm=False)
            for index, output in zip(batch, outputs, strict=True):
                for one in output.outputs:
                    ended = "stop" if one.finish_reason == "stop" else "length"
                    ids = tuple(one.token_ids)
                    yield Rollout(index, one.index, one.text, ids, ended, len(output.prompt_token_ids))  # type: ignore[arg-type]


def _rank(adapter: Path) -> int:
    from mbt_lite.files import read_json

    return int(read_json(adapter / "adapter_config.json", r=int)["r"])
