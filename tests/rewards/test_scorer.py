import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest
from agreement import LIMITS, law_terms, random_batch

from mbt_lite.rewards import terms as reward_terms
from mbt_lite.rewards.scorer import Scorer, choose_scorer
from mbt_lite.rewards.terms import TERMS, Term
from mbt_lite.rewards.vocabulary import Vocabulary, decode_without_specials


def scorer_of(toy: Any, vocabulary: Vocabulary, prefilled_think: bool = False) -> Scorer:
    return Scorer(vocabulary.decode, frozenset({toy.eos_token_id}), LIMITS, prefilled_think)


def test_score_gives_the_laws_terms_and_the_tokenizers_text(toy: Any, toy_vocabulary: Vocabulary) -> None:
    batch = random_batch(random.Random(5), toy, 64)
    scored = scorer_of(toy, toy_vocabulary, batch.prefilled_think).score(batch.ids, batch.golds)
    assert [tuple(terms.values()) for terms in scored.terms] == law_terms(toy, batch)
    assert scored.stopped == [bool(ids) and ids[-1] == toy.eos_token_id for ids in batch.ids]
    assert scored.texts == [decode_without_specials(toy, ids) for ids in batch.ids]


class Counter:
    """Stands in for the kernel where there is no GPU: two rows with given counts, the second left to the law."""

    def count(self, ids: Sequence[Sequence[int]], golds: Sequence[Sequence[str]]) -> Any:
        torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
        from mbt_lite.rewards.counts import COUNT_NAMES, Counts

        numbers = {"tokens": len(ids[0]), "shared_words": 2, "both_words": 5}
        ones = dict.fromkeys(COUNT_NAMES, 1) | numbers
        counts = Counts(**{name: torch.tensor([value, 9], dtype=torch.float64) for name, value in ones.items()})
        return counts, torch.tensor([False, True])


def two_rows(toy: Any, vocabulary: Vocabulary) -> Any:
    texts = ["<think>Rome</think><answer>Rome</answer>", "<think>Ro\0me Rome</think><answer>Rome</answer>"]
    ids = [[*toy.encode(text, add_special_tokens=False), toy.eos_token_id] for text in texts]
    return dataclasses.replace(scorer_of(toy, vocabulary), kernel=Counter()).score(ids, [["Rome"], ["Rome"]])


def test_score_takes_the_kernels_rows_and_leaves_marked_ones_to_the_law(toy: Any, toy_vocabulary: Vocabulary) -> None:
    scored = two_rows(toy, toy_vocabulary)
    assert scored.by_law == 1
    # 2 of 5 words is what the stand-in counted; the law's own would be 1
    assert scored.terms[0]["answer"] == 0.8
    assert (scored.terms[1]["answer"], scored.terms[1]["exact"], scored.terms[1]["format"]) == (1.0, 1.0, 1.0)
    assert [tuple(terms) for terms in scored.terms] == [tuple(TERMS)] * 2


def test_score_takes_terms_that_the_kernel_does_not_count_from_the_law(
    toy: Any, toy_vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reward_terms.TERMS, "brevity", Term(-1, 0, lambda completion: -completion.tokens / 1000))
    scored = two_rows(toy, toy_vocabulary)
    assert [tuple(terms) for terms in scored.terms] == [tuple(TERMS)] * 2
    assert (scored.terms[0]["answer"], scored.by_law) == (0.8, 1)
    assert all(-1 < terms["brevity"] < 0 for terms in scored.terms)


def test_choose_scorer_takes_the_law_without_cuda(toy: Any, toy_vocabulary: Vocabulary) -> None:
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    chosen = choose_scorer(toy, torch.device("cpu"), frozenset({2}), LIMITS, prefilled_think=True)
    assert (chosen.form, chosen.prefilled_think, chosen.stop_ids) == ("law", True, frozenset({2}))
    ids = toy.encode("Rome \u5317", add_special_tokens=False)
    assert chosen.decode(ids) == toy_vocabulary.decode(ids) == "Rome \u5317"


def test_choose_scorer_decodes_by_the_tokenizer_where_it_is_not_byte_level() -> None:
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

    class Words:
        def decode(self, ids: list[int], **settings: bool) -> str:
            assert settings == {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
            return " ".join(["<answer>", "Rome", "</answer>"][token] for token in ids)

    chosen = choose_scorer(Words(), torch.device("cpu"), frozenset({9}), LIMITS, prefilled_think=False)
    scored = chosen.score([[0, 1, 2, 9]], [["Rome"]])
    assert (chosen.form, scored.texts, scored.terms[0]["exact"]) == ("law", ["<answer> Rome </answer>"], 1.0)


@pytest.mark.gpu
def test_choose_scorer_takes_the_kernel_with_cuda(toy: Any, cuda: Any) -> None:
    chosen = choose_scorer(toy, cuda, frozenset({toy.eos_token_id}), LIMITS, prefilled_think=False)
    batch = random_batch(random.Random(5), toy, 64)
    batch = dataclasses.replace(batch, prefilled_think=False)
    assert chosen.form == "kernel"
    scored = chosen.score(batch.ids, batch.golds)
    assert [tuple(terms.values()) for terms in scored.terms] == law_terms(toy, batch)
