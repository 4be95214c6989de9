from mbt_lite.text.result_lines import read_steps


def fields(line: str) -> list[tuple[int, str, str, int | None]]:
    return [(step.number, step.what, step.value, step.stated) for step in read_steps(line)]


def test_a_step_has_a_number_what_is_looked_for_a_value_and_maybe_a_confidence() -> None:
    assert fields("Step 1: director of X -> Ann Lee [90]") == [(1, "director of X", "Ann Lee", 90)]
    assert fields("Step 12: director of X -> Ann Lee") == [(12, "director of X", "Ann Lee", None)]
    assert fields("Step 1: a -> b [0]") == [(1, "a", "b", 0)]
    assert fields("Step 1: a -> b [100]") == [(1, "a", "b", 100)]


def test_a_variable_makes_a_plan_line() -> None:
    [plan] = read_steps("Step 2: school of A -> B")
    assert plan.is_plan
    assert all(step.is_plan for step in read_steps("Step 1: x of y -> answer"))
    assert [step.value for step in read_steps("Step 1: x ->  B\nStep 2: y ->   C  [9]") if step.is_plan] == ["B", "C"]
    assert not any(step.is_plan for step in read_steps("Step 1: x of y -> Answer\nStep 2: x -> AB\nStep 3: x -> b"))


def test_what_is_no_step() -> None:
    for line in (
        "Step 3: so -> ",
        "Step 1: a -> b [101]",
        "Step 1: a -> b [07]",
        "Step 1: a -> b -> c",
        "Step 123: a -> b",
        " Step 1: a -> b",
        "Step 1 a -> b",
        "Step 1: a->b",
        "Step 1: a ->b",
        "Step 1: a ->   [90]",
        "step 1: a -> b",
        "Then Step 1: a -> b",
        "Step 1: a -> [90]",
    ):
        assert read_steps(line) == [], line


def test_a_value_never_reaches_into_the_next_line() -> None:
    assert fields("Step 1: so -> \nStep 2: a name") == []
    assert fields("Step 1: a -> b\r\nStep 2: c -> d  \n\nStep 3: e -> f") == [
        (1, "a", "b", None),
        (2, "c", "d", None),
        (3, "e", "f", None),
    ]


def test_the_span_is_that_of_the_value() -> None:
    trace = "Plan:\nStep 1: a -> A\n\nStep 1: a -> Ann Lee [90]\n"
    assert [trace[step.start : step.end] for step in read_steps(trace)] == ["A", "Ann Lee"]
