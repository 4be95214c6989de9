"""One completion to one scored prediction: the only road from model text to numbers in a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from mbt_lite.metrics.answers import exact_match, f1, rules_for, substring_match
from mbt_lite.metrics.phase_reader import PhaseReader
from mbt_lite.metrics.traces import bridge_hit, is_degenerate, trace_figures
from mbt_lite.records import Completion, Prediction, Question
from mbt_lite.text.completion import parse_completion, trace_span


def score_completion(
    question: Question, completion: Completion, variant: str, *, prefilled_think: bool = False
) -> Prediction:
    """Score one completion of a question against its golds, by the rules of the question's source.

    A completion that is cut off or has no answer is the model's failure: it scores 0 and counts. Raises DataError for a
    source without rules.
    """
    answer = parse_completion(completion.text, prefilled_think=prefilled_think).answer
    return score_answer(question, completion, variant, answer, prefilled_think=prefilled_think)


def score_answer(
    question: Question, completion: Completion, variant: str, answer: str | None, *, prefilled_think: bool = False
) -> Prediction:
    """Score a completion whose final answer is known already, wherever it was read from."""
    assert completion.question_id == question.question_id, (completion.question_id, question.question_id)
    parsed = parse_completion(completion.text, prefilled_think=prefilled_think)
    stopped = completion.finish_reason == "stop"
    golds = question.golds
    figures = trace_figures(parsed.trace, golds)
    return Prediction(
        question_id=question.question_id,
        variant=variant,
        rollout_index=completion.rollout_index,
        text=completion.text,
        finish_reason=completion.finish_reason,
        completion_tokens=completion.completion_tokens,
        answer=answer,
        golds=golds,
        exact_match=exact_match(answer, golds),
        f1=f1(answer, golds, rules_for(question.source)),
        substring_match=substring_match(answer, golds),
        answered=int(answer is not None),
        stopped=int(stopped),
        degenerate=int(is_degenerate(answer, stopped=stopped)),
        answer_hit=int(figures.words_to_mention is not None),
        trace_words=figures.trace_words,
        words_to_mention=figures.words_to_mention,
        repeated_4grams=figures.repeated_4grams,
        bridge_hit=bridge_hit(parsed.trace, question.bridges),
    )


def with_phases(
    predictions: Iterable[Prediction], reader: PhaseReader | None, *, prefilled_think: bool = False
) -> list[Prediction]:
    """Put the phases in that a reader finds in each trace; None where there is no reader, none without a trace."""
    if reader is None:
        return [dataclasses.replace(row, phases=None) for row in predictions]
    found = []
    for row in predictions:
        place = trace_span(row.text, prefilled_think=prefilled_think)
        found.append(dataclasses.replace(row, phases=() if place is None else reader.spans(row.text, *place)))
    return found
