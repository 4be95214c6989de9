import dataclasses
import random
from typing import Any

import pytest
from agreement import LIMITS, law_terms, random_batch

from mbt_lite.rewards.law import Terms
from mbt_lite.rewards.scorer import Scorer, choose_scorer
from mbt_lite.rewards.vocabulary import Vocabulary, decode_without_specials


def scorer_of(toy: Any, vocabulary: Vocabulary, prefilled_think: bool = False) -> Scorer:
    return Scorer(vocabulary.decode, frozenset({toy.eos_token_id}), LIMITS, prefilled_think)


def test_score_gives_the_laws_terms_and_the_tokenizers_text(toy: Any, toy_vocabulary: Vocabulary) -> None:
    batch = random_batch(random.Random(5), toy, 64)
    scored = scorer_of(toy, toy_vocabulary, batch.prefilled_think).score(batch.ids, batch.golds)
    assert [dataclasses.astuple(terms) for terms in scored.terms] == law_terms(toy, batch)
    assert scored.stopped == [bool(ids) and ids[-1] == toy.eos_token_id for ids in batch.ids]
    assert scored.texts == [decode_without_specials(toy, ids) for ids in batch.ids]


def test_score_leaves_marked_rows_to_the_law_and_counts_them(toy: Any, toy_vocabulary: Vocabulary) -> None:
    texts = ["<think>Rome</think><answer>Rome</answer>", "<think>Ro\0me Rome</think><answer>Rome</answer>"]
    ids = [[*toy.encode(text, add_special_tokens=False), toy.eos_token_id] for text in texts]
    scored = scorer_of(toy, toy_vocabulary).score(ids, [["Rome"], ["Rome"]])
    assert scored.by_law == 1
    assert (scored.terms[1].exact, scored.terms[1].format) == (1.0, 1.0)
    assert all(isinstance(terms, Terms) for terms in scored.terms)


def test_choose_scorer_takes_the_vectorised_form_without_cuda(toy: Any, toy_vocabulary: Vocabulary) -> None:
    import torch

    chosen = choose_scorer(toy, torch.device("cpu"), frozenset({2}), LIMITS, prefilled_think=True)
    assert (chosen.form, chosen.prefilled_think, chosen.stop_ids) == ("vectorised", True, frozenset({2}))
    assert chosen.decode.__self__ == toy_vocabulary  # type: ignore[attr-defined]


def test_choose_scorer_decodes_by_the_tokenizer_where_it_is_not_byte_level() -> None:
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

    class Words:
        def decode(self, ids: list[int], **settings: bool) -> str:
            assert settings == {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
            return " ".join(["<answer>", "Rome", "</answer>"][token] for token in ids)

    chosen = choose_scorer(Words(), torch.device("cpu"), frozenset({9}), LIMITS, prefilled_think=False)
    scored = chosen.score([[0, 1, 2, 9]], [["Rome"]])
    assert (chosen.form, scored.texts, scored.terms[0].exact) == ("vectorised", ["<answer> Rome </answer>"], 1.0)


@pytest.mark.gpu
def test_choose_scorer_takes_the_kernel_with_cuda(toy: Any, cuda: Any) -> None:
    chosen = choose_scorer(toy, cuda, frozenset({toy.eos_token_id}), LIMITS, prefilled_think=False)
    batch = random_batch(random.Random(5), toy, 64)
    batch = dataclasses.replace(batch, prefilled_think=False)
    assert chosen.form == "kernel"
    scored = chosen.score(batch.ids, batch.golds)
    assert [dataclasses.astuple(terms) for terms in scored.terms] == law_terms(toy, batch)
