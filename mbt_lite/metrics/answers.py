"""Answer metrics: exact match, token F1, substring match, and their forms over k completions of one question.

Source: the official scorers of MuSiQue, HotpotQA and 2WikiMultihopQA, whose outputs on edge cases are tested; pass@k is
the unbiased estimator of Chen et al. (arXiv 2107.03374). An answer is the extracted text or None; no answer scores 0.
Scores are the best over the golds (answer and aliases), exact match and F1 each for itself. The benchmarks differ:

| rule | MuSiQue | HotpotQA | 2Wiki |
|---|---|---|---|
| normalisation, exact match | the same | the same | the same |
| F1 where answer or gold is yes, no or noanswer | as any other | 0 unless they match whole | as HotpotQA |
| F1 of two texts without any word | 1 | 0 | 0 |
| accepted answers | answer, `answer_aliases` | answer | answer, `id_aliases.json` by `answer_id` |
| a question without a prediction | an error | counts as wrong | counts as wrong |

1. Ours counts a question without a prediction as wrong for all three, and says how many there are.
2. A gold that is marked as a number is compared by value; F1 and substring match are exact match there.
3. Substring match is on characters of the normalised texts, gold inside the answer, as is usual: "art" is in "party".
   A gold without any word matches only an answer without any word.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from mbt_lite.errors import DataError
from mbt_lite.layouts import sources
from mbt_lite.layouts.layout import Rules
from mbt_lite.rewards.terms import answer_term, exact_term
from mbt_lite.text.normalize import normalize
from mbt_lite.text.numbers import is_number_gold, plain_number
from mbt_lite.text.overlap import token_f1

_WHOLE_ANSWERS = ("yes", "no", "noanswer")


def rules_for(source: str) -> Rules:
    """Give the F1 rules of a question's source; DataError for a source without rules.

    >>> rules_for("2wiki")
    'hotpot'
    """
    known = sources()
    if source not in known:
        raise DataError(f"question source: no scoring rules (got {source!r}); use one of {sorted(known)}")
    return known[source].f1_rules


def exact_match(answer: str | None, golds: Sequence[str]) -> int:
    """Give 1 if the normalised answer equals a normalised gold, else 0: the reward's `exact`.

    >>> exact_match("The Hague", ["hague"])
    1
    """
    return int(exact_term(answer, golds))


def f1(answer: str | None, golds: Sequence[str], rules: Rules) -> float:
    """Give the best token F1 over the golds, 0..1, by the rules of the question's source.

    >>> f1("yes it is", ["yes"], "musique"), f1("yes it is", ["yes"], "hotpot")
    (0.5, 0.0)
    """
    if answer is None or rules == "musique" or is_number_gold(golds[0]):
        return answer_term(answer, golds)
    return max(_hotpot_f1(answer, gold) for gold in golds)


def _hotpot_f1(answer: str, gold: str) -> float:
    predicted, wanted = normalize(answer), normalize(gold)
    must_match_whole = predicted in _WHOLE_ANSWERS or wanted in _WHOLE_ANSWERS
    if (must_match_whole and predicted != wanted) or not wanted:
        return 0.0
    return token_f1(answer, gold)


def substring_match(answer: str | None, golds: Sequence[str]) -> int:
    """Give 1 if a normalised gold stands inside the normalised answer, else 0.

    >>> substring_match("It was Rome, Italy", ["Rome"])
    1
    """
    if answer is None:
        return 0
    if is_number_gold(golds[0]):
        return exact_match(answer, golds)
    text = normalize(answer)
    return int(any(gold in text if gold else not text for gold in map(normalize, golds)))


def avg_at_k(scores: Sequence[float]) -> float:
    """Give the mean score of k completions of one question.

    >>> avg_at_k([1, 0, 0, 1])
    0.5
    """
    assert scores, "avg@k needs at least one score"
    return math.fsum(scores) / len(scores)


def pass_at_k(n: int, n_correct: int, k: int) -> float:
    """Estimate without bias the chance that one of k completions is right, from n of which n_correct are.

    1 - product over i = n - n_correct + 1 .. n of (1 - k/i).

    >>> round(pass_at_k(4, 1, 2), 9)
    0.5
    """
    assert 0 <= n_correct <= n, f"{n_correct} of {n} correct"
    assert 1 <= k <= n, f"pass@{k} of {n} completions"
    return 1.0 - math.prod(1 - k / i for i in range(n - n_correct + 1, n + 1))


def voting_form(answer: str, golds: Sequence[str]) -> str | None:
    """Give the form in which an answer votes and agrees with others; None for one without the number asked for.

    >>> voting_form("The Beatles!", ["Beatles"]), voting_form("$1,800.00", ["#### 1800"])
    ('beatles', '1800')
    """
    return plain_number(answer) if is_number_gold(golds[0]) else normalize(answer)


def maj_at_k(answers: Sequence[str | None], golds: Sequence[str]) -> int:
    """Give 1 if the most frequent answer of k completions is an exact match, else 0.

    Answers vote in normalised form, completions without an answer do not vote; of equally frequent ones the first wins.

    >>> maj_at_k(["Rome", "Paris", "rome.", None], ["Rome"])
    1
    """
    assert answers, "maj@k needs at least one completion"
    votes = Counter(said for one in answers if one is not None and (said := voting_form(one, golds)) is not None)
    return exact_match(votes.most_common(1)[0][0], golds) if votes else 0
