"""Confidence, rewarded on top of the law: on the steps of a trace (CCRL, our rule), or in the answer (RLCR).

`rewards/spans.py` says what steps earn. With `confidence: token` being sure is a property of the policy, not an action
of it: the policy gradient makes right steps likelier and sure wrong ones rarer, and that the rule is proper is a motive
here, not a theorem. With stated confidence it is an action, and the theorem holds.

Log-probabilities are those of the rollouts, at `grpo.temperature`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mbt_lite.methods.method import Batch, Extra, Rule
from mbt_lite.metrics.calibration import expected_calibration_error, null_calibration_error, overconfident
from mbt_lite.recipe.schema import Ccrl, Confidence, Grpo
from mbt_lite.rewards.spans import (
    Scored,
    Span,
    confidence_term,
    find_bridges,
    score_spans,
    stated_confidence,
    token_confidence,
)
from mbt_lite.text.completion import parse_completion
from mbt_lite.text.confidence import read_confidence

# Of fewer confidences a calibration error says nothing.
FEWEST = 10


def extras_of(grpo: Grpo) -> tuple[Extra, ...]:
    """Give the extras that a recipe weighs; () if it weighs none."""
    found: list[Extra] = []
    if grpo.ccrl.weight:
        found.append(StepConfidence(grpo.ccrl))
    if grpo.confidence.weight:
        found.append(AnswerConfidence(grpo.confidence))
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class StepConfidence(Extra):
    """Reward being sure of right steps and unsure of wrong ones."""

    settings: Ccrl
    name = "ccrl"

    @property
    def wants_log_probs(self) -> bool:
        """Only where tokens tell the confidence."""
        return self.settings.confidence == "token"

    def __call__(self, batch: Batch) -> list[float]:
        """Give the weighed term of each completion; 0 where the question has no bridges."""
        weight, law = self.settings.weight, self.settings.law
        return [weight * confidence_term(scored, bridges, law) for scored, bridges in self._read(batch)]

    def figures(self, batch: Batch) -> Mapping[str, float]:
        """Tell of the spans of the step, where questions have bridges."""
        read = [(scored, bridges) for scored, bridges in self._read(batch) if bridges]
        spans = [one for scored, _ in read for one in scored]
        if not read:
            return {}
        counts = {
            "ccrl/spans": len(spans) / len(read),
            "ccrl/missing": sum(max(0, bridges - len(scored)) for scored, bridges in read) / len(read),
        }
        shares = {"ccrl/right": sum(right for _, right in spans) / len(spans)} if spans else {}
        return counts | shares | _sureness("ccrl", spans, batch.step)

    def healthy_ranges(self) -> tuple[Rule, ...]:
        """Expect plans that are executed, by steps that are mostly meant."""
        return (
            Rule(
                "ccrl/spans", 0.5, 8.0,
                below="plans are hardly executed; train sft longer on rows with steps, or raise gen.executed_share",
                above="completions name many things as steps; lower grpo.ccrl.weight",
            ),
            Rule(
                "ccrl/right", 0.1, 1.0, from_step=10,
                below="hardly any step is right, so confidence can only fall; train sft longer, or set "
                "grpo.ccrl.weight to 0",
            ),
            Rule(
                "ccrl/overconfident", 0.0, 0.9, from_step=20,
                above="nearly all wrong steps are sure; raise grpo.ccrl.weight, or train longer",
            ),
        )  # fmt: skip

    def _read(self, batch: Batch) -> list[tuple[list[Scored], int]]:
        """Give the spans of each completion, scored, and how many bridges its question has."""
        assert len(batch.questions) == len(batch.texts), (len(batch.questions), len(batch.texts))
        return [self._read_row(batch, row) for row in range(len(batch.texts))]

    def _read_row(self, batch: Batch, row: int) -> tuple[list[Scored], int]:
        def sure_of(span: Span) -> float:
            if not self.wants_log_probs:
                return stated_confidence(span)
            assert batch.log_probs is not None
            assert batch.decode is not None
            return token_confidence(span, batch.ids[row], batch.log_probs[row], batch.decode)

        question = batch.questions[row]
        scored = score_spans(batch.texts[row], question, sure_of, prefilled_think=batch.prefilled_think)
        return scored, len(find_bridges(question))


@dataclasses.dataclass(frozen=True)
class AnswerConfidence(Extra):
    """Reward saying how likely the answer is right."""

    settings: Confidence
    name = "confidence"
    wants_log_probs = False

    def __call__(self, batch: Batch) -> list[float]:
        """Give the weighed reward of each completion, as much as it can cost where the line is missing."""
        return [
            self.settings.weight * (-1.0 if sure is None else right - (right - sure) ** 2)
            for sure, right in self._read(batch)
        ]

    def figures(self, batch: Batch) -> Mapping[str, float]:
        """Tell how many state a confidence, and how sure they are."""
        read = self._read(batch)
        stated = [(sure, right) for sure, right in read if sure is not None]
        return {"confidence/stated": len(stated) / len(read), **_sureness("confidence", stated, batch.step)}

    def healthy_ranges(self) -> tuple[Rule, ...]:
        """Expect the line."""
        below = "the last line of thought states no confidence; train sft first on rows of gen.kind confidence"
        return (Rule("confidence/stated", 0.8, 1.0, below=below),)

    def _read(self, batch: Batch) -> list[tuple[float | None, bool]]:
        """Give what each completion states, 0..1, and whether it is right; an open trace states nothing."""
        read = []
        for text, stopped, terms in zip(batch.texts, batch.stopped, batch.terms, strict=True):
            parsed = parse_completion(text, prefilled_think=batch.prefilled_think)
            stated = read_confidence(parsed.trace) if parsed.think_closed else None
            read.append((None if stated is None else stated / 100, stopped and terms["exact"] == 1.0))
        return read


def _sureness(name: str, scored: Sequence[Scored], seed: int) -> dict[str, float]:
    """Give n, mean confidence where right and where wrong, the overconfident share of what is wrong, calibration."""
    sides = {side: [sure for sure, right in scored if right == (side == "right")] for side in ("right", "wrong")}
    figures = {f"confidence_{side}": sum(sure) / len(sure) for side, sure in sides.items() if sure}
    sure, rights = [one for one, _ in scored], [int(right) for _, right in scored]
    if (share := overconfident(sure, rights)) is not None:
        figures["overconfident"] = share
    if len(scored) >= FEWEST:
        figures["ece"] = expected_calibration_error(sure, rights)
        figures["ece_if_perfect"] = null_calibration_error(sure, seed)
    return {f"{name}/{key}": value for key, value in {"n": len(scored), **figures}.items()}
