import pytest

from mbt_lite.traces.prefilter import sort_by_pass_rate


def row(question_id: str, correct: int, rollouts: int) -> dict[str, object]:
    return {"question_id": question_id, "correct": correct, "rollouts": rollouts}


def test_sort_by_pass_rate_keeps_what_is_sometimes_solved_and_what_nobody_knows() -> None:
    rows = [row("a", 0, 4), row("b", 4, 4), row("c", 1, 4), row("d", 3, 4), row("e", 1, 1), row("z", 2, 4)]
    found = sort_by_pass_rate(["a", "b", "c", "d", "e", "f"], rows)
    assert (found.never, found.always, found.sometimes, found.unknown) == (("a",), ("b",), ("c", "d"), ("e", "f"))
    assert found.kept == {"c", "d", "e", "f"}
    assert found.counts() == {"sometimes": 2, "always": 1, "never": 1, "unknown": 2}


def test_sort_by_pass_rate_puts_every_question_into_one_sort() -> None:
    ids = [str(number) for number in range(30)]
    found = sort_by_pass_rate(ids, [row(name, int(name) % 4, 3) for name in ids])
    sorts = (found.sometimes, found.always, found.never, found.unknown)
    assert sorted(name for sort in sorts for name in sort) == sorted(ids)


def test_sort_by_pass_rate_refuses_more_right_than_there_are() -> None:
    with pytest.raises(AssertionError):
        sort_by_pass_rate(["a"], [row("a", 5, 4)])
