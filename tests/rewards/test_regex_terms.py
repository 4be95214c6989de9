"""An independent route to the seven terms: regex functions that share no code with the law."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from regex_terms import REWARDS

from mbt_lite.rewards import law
from mbt_lite.rewards.terms import TERMS, RewardLimits

LIMITS = RewardLimits(max_completion_tokens=50, verification_words=2, overlong_buffer_tokens=20)
WORDS = (
    "Rome", "New York", "the ", "a ", "wait ", "first we need ", "let us check ", " ", "\n", ".", "it is ",
    "US ", "yes ",
)  # fmt: skip
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
PROSE = st.lists(st.sampled_from(WORDS), max_size=20).map("".join)
TEXTS = st.lists(st.sampled_from(WORDS + TAGS), max_size=20).map("".join) | st.builds(
    "<think>{}</think>\n<answer>{}</answer>".format, PROSE, PROSE
)
GOLDS = st.lists(PROSE, min_size=1, max_size=3)


@settings(deadline=None, max_examples=400)
@given(TEXTS, GOLDS, st.booleans(), st.integers(0, 50))
def test_regex_rewards_give_the_laws_terms_on_ascii(text: str, golds: list[str], stopped: bool, tokens: int) -> None:
    columns = {"completions": [text], "completion_ids": [[0] * tokens], "golds": [golds], "stopped": [stopped]}
    got = {name: reward(**columns, **dataclasses.asdict(LIMITS)) for name, reward in REWARDS.items()}
    want = law.score(text, stopped=stopped, completion_tokens=tokens, golds=golds, limits=LIMITS)
    assert got == {name: [want[name]] for name in TERMS}
