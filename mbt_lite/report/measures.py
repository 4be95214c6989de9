"""The rows of the table: every measure's key, its name for people, its unit and its meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

Kind = Literal["share", "tokens", "score", "level"]


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table: a metric's key, its name for people, its unit and its meaning in a few words."""

    key: str
    label: str
    kind: Kind
    meaning: str


MEASURES = (
    Measure("exact_match", "exact match", "share", "the answer is a gold, but for case, punctuation and articles"),
    Measure("f1", "F1", "share", "words the answer shares with its best gold, against words of both"),
    Measure("substring_match", "substring match", "share", "a gold stands inside the answer"),
    Measure("answered", "answered", "share", "a closed <answer> after the trace"),
    Measure("stopped", "stopped", "share", "the model ended its turn by itself"),
    Measure("degenerate", "degenerate", "share", "did not stop by itself, or no closed answer"),
    Measure("completion_tokens", "tokens", "tokens", "mean completion length by the student's tokenizer"),
    Measure("answer_inclusive_error", "found and lost", "share", "wrong, though a gold stands in the trace"),
    Measure("answer_exclusive_error", "never found", "share", "wrong, and no gold in the trace, or no trace"),
    Measure("aes", "AES", "score", "accuracy gained and tokens saved against base in one number; above 0 is better"),
)  # fmt: skip

# What a metrics.json may have beside them; a row is there if one series has it.
BY_RULE = (
    Measure("phase_coverage", "phases shown", "share", "of the five phases; who read them stands among the remarks"),
    Measure("bridge_hit", "bridges named", "share", "of a question's gold intermediate results, in the trace"),
    Measure("first_mention", "first mention", "share", "of the trace's words up to the first gold, where there is one"),
    Measure("words_after_mention", "words after it", "tokens", "words of the trace after the first mention of a gold"),
    Measure("repeated_4grams", "said again", "share", "of the trace's word 4-grams that occurred earlier in it"),
)  # fmt: skip
JUDGED = (
    Measure("accuracy", "judged accuracy", "share", "the judge calls the answer correct"),
    Measure("not_attempted", "not attempted", "share", "the judge calls the question not attempted"),
    Measure("answer_hit", "judged answer hit", "share", "the judge finds the right answer derived in the trace"),
    Measure("answer_inclusive_error", "judged found and lost", "share", "judged wrong, with a judged answer hit"),
    Measure("overthinking", "overthinking", "share", "of a right trace after its useful beginning, by the judge"),
    Measure("underthinking", "underthinking", "share", "of a wrong trace after its useful beginning, by the judge"),
    Measure("metacognition", "metacognition", "level", "0 to 5, by the judge"),
    Measure("reach", "reach", "share", "of the trace's sentences until it derives the answer, by the judge"),
    Measure("redundancy", "redundancy", "share", "of the trace's sentences in paragraphs the judge calls redundant"),
    Measure("balance", "reach-redundancy", "level", "harmonic mean of 1 - reach and 1 - redundancy; 1 is best"),
    Measure("quality", "metacognitive quality", "level", "judged level 0 to 5, times base tokens over tokens"),
)  # fmt: skip
FORESIGHT = (
    Measure("parsed", "forecasts read", "share", "forecasts with names, share right and length"),
    Measure("total", "forecast", "level", "mean of the three below, 0 to 1"),
    Measure(
        "constant_total", "best constant", "level", "what the best forecast that never changes earns, in hindsight"
    ),
    Measure("links", "foretold names", "level", "names in more right than wrong traces, of those foretold"),
    Measure("constant_links", "best constant", "level", "all titles that the question does not say"),
    Measure("tokens", "foretold length", "level", "within the lengths of right answers"),
    Measure("constant_tokens", "best constant", "level", "the same length always"),
    Measure("rate", "foretold rate", "level", "how near to the share of right answers, by the law of the rate"),
    Measure("constant_rate", "best constant", "level", "the same rate always"),
    Measure("auroc", "rate tells solved", "level", "AUROC of the rate, solved at least half; a constant has 0.5"),
    Measure("bridge_precision", "names are bridges", "share", "of the foretold names"),
    Measure("bridge_chance", "titles are bridges", "share", "of all titles that the question does not say: chance"),
    Measure("bridge_recall", "bridges foretold", "share", "of the gold bridges that can be named"),
)
STEPS = (
    Measure("has_steps", "with steps", "share", "completions with a line of a step that says what was found"),
    Measure("spans", "steps", "level", "a completion, that could be gold intermediate results"),
    Measure("right_spans", "right steps", "share", "of those, that are"),
)
# How sure a student is, by its key in `calibration`: what people call it.
READINGS = {"stated": "stated", "answer_probability": "probability", "agreement": "agreement", "steps": "steps"}
CALIBRATION = (
    Measure("ece", "ECE", "level", "mean distance of confidence to share right, 10 bins; read it beside the next"),
    Measure("ece_if_perfect", "if perfect", "level", "the ECE by chance alone, were these very confidences perfect"),
    Measure("brier", "Brier", "level", "mean squared distance of confidence to right or wrong; less is better"),
    Measure("brier_of_base_rate", "of base rate", "level", "the Brier score of one constant, the share right"),
    Measure("auroc", "AUROC", "level", "chance that a right answer is surer than a wrong one; a constant has 0.5"),
    Measure("overconfident", "overconfident", "share", "of wrong answers, with a confidence of at least 0.8"),
    Measure("aurc", "AURC", "level", "mean share wrong of the surest 1, 2, ... all; less is better"),
    Measure("accuracy_at_0.5", "surest half", "share", "right of the surest half"),
    Measure("accuracy_at_0.8", "surest 80 %", "share", "right of the surest four fifths"),
    Measure("answered_if_sure", "answered", "share", "if what is surer to be wrong than right (below 0.5) is left"),
    Measure("accuracy_if_sure", "right of those", "share", "of what is answered then"),
    Measure("wrong_if_sure", "wrong and said", "share", "of all, answered then and wrong"),
)
AT_K = {
    "avg": "mean exact match of the first k completions of a question",
    "maj": "exact match of the most frequent answer of the first k completions",
    "pass": "chance that one of k completions is right, from all completions",
}


def _without_evidence() -> Iterator[Measure]:
    for key, name in {"unknown": "unknown", **READINGS}.items():
        what = "answers `unknown`" if key == "unknown" else f"mean confidence, {name},"
        yield Measure(f"{key}_with", f"{name} with", "share", f"{what} with all documents")
        yield Measure(f"{key}_without", f"{name} without", "share", f"{what} without the supporting ones")
        yield Measure(f"{key}_difference", "difference", "level", f"{what} without less with, question by question")


WITHOUT_EVIDENCE = tuple(_without_evidence())
