"""A teacher that answers oddly, now and then or always, in one way each."""

import json
import random
import shutil
from collections.abc import Callable
from typing import Any

from teacher_server import RESET, Answer, Body, completion, delta, half, refusal, stream, teacher_server

from faults.lab import Lab
from mbt_lite.scripted.writer import write_reply

Odd = Callable[[str], Answer]

FAULTS: dict[str, Odd] = {
    "connection reset": lambda text: RESET,
    "broken off": lambda text: half(completion(text)),
    "status 500": lambda text: refusal(500),
    "status 429": lambda text: refusal(429, retry_after="0"),
    "status 400": lambda text: refusal(400),
    "a page": lambda text: Answer(200, "<html>sign in</html>"),
    "nothing": lambda text: Answer(200, ""),
    "an error in a 200": lambda text: Answer(200, json.dumps({"error": {"message": "busy", "code": 503}})),
    "no choices": lambda text: Answer(200, json.dumps({"choices": []})),
    "choices null": lambda text: Answer(200, json.dumps({"choices": None})),
    "content null": lambda text: completion(None),
    "half a surrogate": lambda text: completion(text + "\ud83d"),
    "bottomless": lambda text: Answer(200, "[" * 100_000),
    "a number of 10,000 digits": lambda text: Answer(200, '{"choices": ' + "9" * 10_000 + "}"),
    "finish_reason null": lambda text: completion(text, finish_reason=None),
    "finish_reason of others": lambda text: completion(text, finish_reason="end_turn"),
    "no usage": lambda text: completion(text, usage=None),
    "negative usage": lambda text: completion(text, usage=(-7, -3)),
    "content in parts": lambda text: completion([{"type": "text", "text": text}]),
    "a stream": lambda text: stream(delta(content=text), delta("stop")),
    "huge": lambda text: completion(text * 100_000),
    "status 501": lambda text: refusal(501),
    "status 503": lambda text: refusal(503),
    "reasoning alone": lambda text: completion("", reasoning_content=text),
    "a byte order mark": lambda text: Answer(200, "\ufeff" + completion(text).content),
    "a wait of no calendar": lambda text: refusal(429, retry_after="Mon, 01 Jan 999999 00:00:00 GMT"),
    "a stream broken off": lambda text: stream(delta(content=text[: len(text) // 2]), done=False),
}  # fmt: skip


def answer_oddly(lab: Lab, times: int, chance: random.Random) -> list[str]:
    """Ask odd teachers, every fault now and then and always; give what was wrong."""
    cases = [(name, always) for always in (False, True) for name in FAULTS]
    chosen = cases[:times] if times >= len(cases) - 2 else chance.sample(cases, times)
    return [wrong for number, case in enumerate(chosen) for wrong in _ask(lab, *case, f"reply-{number}")]


def _ask(lab: Lab, fault: str, always: bool, name: str) -> list[str]:
    def answer(number: int, body: Body) -> Answer:
        text = write_reply([one["content"] for one in body["messages"] if one["role"] == "user"], body.get("seed", 0))
        return FAULTS[fault](text) if always or number % 3 == 0 else completion(text, model="scripted")

    out = lab.copy("gen", name)
    what = f"{name} {fault}, {'always' if always else 'now and then'}"
    with teacher_server(answer) as server:
        settings: Any = (f"teacher.base_url={server.url}", "gen.trial_traces=0")
        code, said = lab.start("gen", out, *settings).finish()
        asked = [json.dumps(body, sort_keys=True) for body in server.bodies]
    wrong = []
    if code not in (0, 2) or "Traceback" in said:
        wrong.append(f"{what}: exit code {code}: {said[-1500:]}")
    if len(asked) > 2 * len(set(asked)):
        wrong.append(f"{what}: {len(asked)} requests for {len(set(asked))} replies in two attempts")
    if code == 2:
        # what was refused goes on at a teacher that answers
        code, said = lab.start("gen", out).finish()
        if code != 0 or (not always and lab.difference("gen", out)):
            wrong.append(f"{what}, then a sound teacher: exit code {code}: {said[-1500:]}")
    shutil.rmtree(out, ignore_errors=True)
    return wrong
