"""The NVIDIA driver: which cards it sees, which is used, and whether a tested torch runs on it."""

from __future__ import annotations

from mbt_lite.cards import Card, best_card, choose_build, read_cards
from mbt_lite.doctor.findings import Finding
from mbt_lite.errors import ModelError


def check_driver() -> tuple[Card | None, list[Finding]]:
    """Ask nvidia-smi; give the card that is used, None without one, and what is to be said of it."""
    try:
        cards = read_cards()
    except ModelError as error:
        return None, [_problem(error)]
    card = best_card(cards)
    if card is None:
        return None, []
    try:
        build = choose_build(card)
    except ModelError as error:
        return card, [_problem(error)]
    others = "" if len(cards) == 1 else f"; the best of {len(cards)} cards, CUDA_VISIBLE_DEVICES chooses another"
    return card, [Finding("driver", f"{card}, for torch with CUDA {build.cuda}{others}")]


def _problem(error: ModelError) -> Finding:
    said, _, cure = str(error).partition("; ")
    return Finding("driver", said, cure)
