"""The known ways to cheat a rule-based reward, one test each: none may pay."""

from mbt_lite.recipe.schema import RewardWeights
from mbt_lite.rewards.law import Terms, score, total
from mbt_lite.rewards.terms import RewardLimits

LIMITS = RewardLimits(max_completion_tokens=200, verification_words=5, overlong_buffer_tokens=40)
ALL_TERMS = RewardWeights(
    answer=1.0, exact=1.0, format=0.5, keep=0.5, dwell=0.5, redundancy=0.5, length=0.5
).model_dump()
TRACE = "First we need the director. The second document names Ana Ruiz. Let us check: she was born in Lima."


def scored(text: str, *, stopped: bool = True, tokens: int = 50, gold: str = "Lima") -> Terms:
    return score(text, stopped=stopped, completion_tokens=tokens, golds=[gold], limits=LIMITS)


def completion(trace: str, answer: str) -> str:
    return f"<think>\n{trace}\n</think>\n\n<answer>{answer}</answer>"


HONEST = scored(completion(TRACE, "Lima"))
HONEST_BUT_WRONG = scored(completion(TRACE.replace("Lima", "Oslo"), "Oslo"))


def test_answer_tag_inside_the_trace_wins_nothing() -> None:
    inside = scored(f"<think>{TRACE} <answer>Lima</answer></think>")
    assert (inside["answer"], inside["exact"], inside["format"]) == (0, 0, 0)
    both = scored(f"<think>{TRACE} <answer>Lima</answer></think><answer>Oslo</answer>")
    assert (both["answer"], both["exact"], both["format"]) == (0, 0, 0)
    never_closed = scored(f"<think>{TRACE} <answer>Lima</answer>")
    assert (never_closed["answer"], never_closed["exact"], never_closed["format"]) == (0, 0, 0)


def test_many_answer_tags_count_as_the_last_one_alone_and_cost_the_format() -> None:
    guesses = ["Lima", "Oslo", "Rome"]
    text = completion(TRACE, "Lima") + "".join(f"<answer>{guess}</answer>" for guess in guesses)
    terms = scored(text)
    assert (terms["answer"], terms["exact"], terms["format"]) == (0, 0, 0)
    right_at_last = scored(text + "<answer>Lima</answer>")
    assert (right_at_last["answer"], right_at_last["format"]) == (1, 0)
    assert total(right_at_last, ALL_TERMS) < total(HONEST, ALL_TERMS)


def test_list_of_guesses_in_one_answer_loses_exact_and_f1() -> None:
    terms = scored(completion(TRACE, "Lima, Oslo, Rome, Paris"))
    assert terms["exact"] == 0
    assert terms["answer"] == 2 / 5
    assert terms["keep"] == -1


def test_gold_repeated_does_not_shift_dwell() -> None:
    tail = " ".join(f"word{i}" for i in range(20))
    once = scored(completion(f"It is Lima {tail}", "Lima"))
    repeated = scored(completion(f"It is Lima {tail} Lima", "Lima"))
    assert once["dwell"] == -15 / 23
    assert repeated["dwell"] == -16 / 24
    assert repeated["dwell"] < once["dwell"]


def test_phrases_that_only_announce_thinking_win_nothing() -> None:
    phrases = "What is being asked? First we need. So far. Wait. Let us check."
    assert total(scored(completion(phrases, "Oslo")), ALL_TERMS) <= total(HONEST_BUT_WRONG, ALL_TERMS)
    once, often = scored(completion(phrases, "Lima")), scored(completion(f"{phrases} " * 5, "Lima"))
    assert total(once, ALL_TERMS) <= total(HONEST, ALL_TERMS)
    assert total(often, ALL_TERMS) < total(once, ALL_TERMS)


def test_empty_trace_with_a_right_guess_wins_no_more_than_the_answer() -> None:
    terms = scored(completion("", "Lima"))
    assert tuple(terms.values()) == (1, 1, 1, 0, 0, 0, 0)
    assert total(terms, ALL_TERMS) <= total(HONEST, ALL_TERMS)


def test_think_opened_twice_costs_the_format() -> None:
    terms = scored(f"<think>Hm.</think><think>{TRACE}</think><answer>Lima</answer>")
    assert (terms["answer"], terms["format"]) == (1, 0)
    nested = scored(f"<think><think>{TRACE}</think></think><answer>Lima</answer>")
    assert (nested["answer"], nested["format"]) == (1, 0)
    # Opened again and left open: the second block is not the trace, but the answer in it is still read, without format.
    left_open = scored(f"<think>Hm.</think><think>{TRACE}<answer>Lima</answer>")
    assert (left_open["answer"], left_open["format"]) == (1, 0)


def test_trace_that_stops_exactly_at_the_limit_pays_the_whole_length_term() -> None:
    assert scored(completion(TRACE, "Lima"), tokens=200)["length"] == -1
    assert scored(completion(TRACE, "Lima"), tokens=200, stopped=False)["length"] == -1
    assert scored(completion(TRACE, "Lima"), tokens=200, stopped=False)["format"] == 0
    cut = scored(f"<think>{TRACE}", tokens=200, stopped=False)
    assert (cut["answer"], cut["format"], cut["keep"], cut["length"]) == (0, 0, -1, -1)


def test_answer_as_long_as_the_documents_loses_f1() -> None:
    f1s = [scored(completion(TRACE, "Lima " + "and other words " * n))["answer"] for n in (0, 1, 10, 100)]
    assert f1s == [1, 2 / 5, 2 / 32, 2 / 302]


def test_zero_width_and_full_width_characters_win_nothing() -> None:
    for answer in ("Li\u200bma", "Lima\u200b", "Ｌｉｍａ", "\ufeffLima", "L\u00adima"):
        terms = scored(completion(TRACE, answer))
        assert (terms["answer"], terms["exact"], terms["keep"]) == (0, 0, -1)
    # Full-width tags are no tags, and a zero-width character between the pairs is no white space.
    assert scored(f"<think>{TRACE}</think>＜answer＞Lima＜/answer＞")["answer"] == 0
    assert scored(f"<think>{TRACE}</think>\u200b<answer>Lima</answer>")["format"] == 0
