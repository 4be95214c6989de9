"""A Modelfile for Ollama that asks as we train.

Its template is not written by hand: it is cut out of what the tokenizer's chat template renders.
"""

from __future__ import annotations

from typing import Any, Literal

from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Message
from mbt_lite.student.chat_template import rendered, takes_system

Role = Literal["system", "user", "assistant"]

# Stand for the contents when a template is rendered; no template holds them.
SYSTEM, USER, ASSISTANT = "MBT-SYSTEM-CONTENT", "MBT-USER-CONTENT", "MBT-ASSISTANT-CONTENT"


def ollama_template(tokenizer: Any) -> str:
    """Write the tokenizer's chat template in Ollama's words, for one question and its answer."""
    after = _between(tokenizer, [("user", USER), ("assistant", ASSISTANT)], generate=False)[-1]
    before, request = _between(tokenizer, [("user", USER)], generate=True)
    asked = f"{before}{{{{ .Prompt }}}}"
    if takes_system(tokenizer):
        pieces = _between(tokenizer, [("system", SYSTEM), ("user", USER)], generate=True)
        told = f"{pieces[0]}{{{{ .System }}}}{pieces[1]}{{{{ .Prompt }}}}"
        asked = f"{{{{ if .System }}}}{told}{{{{ else }}}}{asked}{{{{ end }}}}"
    return f"{asked}{request}{{{{ .Response }}}}{after}"


def _between(tokenizer: Any, turns: list[tuple[Role, str]], *, generate: bool) -> list[str]:
    """Render a conversation and give the texts around its contents, in order."""
    messages: list[Message] = [{"role": role, "content": content} for role, content in turns]
    rest = rendered(tokenizer, messages, add_generation_prompt=generate)
    pieces = []
    for _, content in turns:
        if content in rest:
            piece, _, rest = rest.partition(content)
            pieces.append(piece)
    return [*pieces, rest]


def context_tokens(recipe: Recipe) -> int:
    """Give the context that eval's longest prompt and completion need."""
    return recipe.data.max_prompt_tokens + recipe.eval.max_completion_tokens


def modelfile(recipe: Recipe, tokenizer: Any, stop_ids: list[int], gguf: str) -> str:
    """Write the Modelfile: template, stop tokens, and the sampling with which `eval` scores."""
    scored = recipe.eval
    parameters: dict[str, float] = {
        "temperature": scored.temperature,
        "num_ctx": context_tokens(recipe),
        "num_predict": scored.max_completion_tokens,
    }
    if scored.temperature > 0:
        parameters |= {"top_p": scored.top_p, "top_k": scored.top_k}
    lines = [
        "# One question, one answer: what the model was trained on.",
        "#   ollama create NAME -f Modelfile                        as it is, or smaller:",
        "#   ollama create NAME -f Modelfile --quantize q4_K_M",
        f"FROM ./{gguf}",
        f'TEMPLATE """{ollama_template(tokenizer)}"""',
        *(f'PARAMETER stop "{token}"' for token in tokenizer.convert_ids_to_tokens(stop_ids)),
        *(f"PARAMETER {name} {value:g}" for name, value in parameters.items()),
    ]
    return "\n".join(lines) + "\n"
