"""Names of invented people, places and works for the synthetic questions.

Plain English words, so that a small model spells them in few tokens. A name is one word of the kind's `first` pool and
one of its `last` pool. Train and dev share no `first` word: train owns every other one, dev the rest, so no entity of a
train file can stand in a dev file. The pools of different kinds share no word either. Years follow the same rule: even
ones are train's, odd ones dev's.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from mbt_lite.data.relations import Kind

Side = Literal["train", "dev"]


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """The words that names of one kind are made of; `joint` stands between them."""

    first: tuple[str, ...]
    joint: str
    last: tuple[str, ...]

    def first_of(self, side: Side) -> tuple[str, ...]:
        """Give the first words that this side owns."""
        return self.first[0::2] if side == "train" else self.first[1::2]


def _pool(first: str, last: str, joint: str = " ") -> Pool:
    return Pool(tuple(first.split()), joint, tuple(last.split()))


POOLS: dict[Kind, Pool] = {
    "person": _pool(
        "James Mary Robert Linda David Susan Thomas Karen Daniel Nancy Paul Betty Helen Steven Sandra Andrew "
        "Kenneth Carol George Ruth Kevin Sharon Brian Laura Edward Sarah Ronald Anna Anthony Emma Jason Alice "
        "Frank Henry Julia Peter Walter Diana Adam Clara Arthur Marie Albert Jane Louis Ellen Roger Martin Amy "
        "Simon Judy Oscar Lucy Victor Emily Ralph Kate Eric Philip Olivia Hugh Sophie Leon Vera Max Eva Joan Carl "
        "Rachel Ivan Alan Maria Oliver Martha",
        "Smith Johnson Davis Miller Wilson Moore Taylor Anderson Jackson Harris Clark Lewis Robinson Walker Allen "
        "Wright Scott Baker Adams Nelson Carter Mitchell Burton Turner Campbell Parker Evans Edwards Collins "
        "Stewart Morris Rogers Reed Cook Morgan Bell Murphy Bailey Cooper Howard Peterson Watson Brooks Kelly "
        "Sanders Bennett Barnes Ross Henderson Coleman Jenkins Perry Powell Hughes Butler Foster Bryant Griffin "
        "Hayes Fisher Porter Hunter Shaw Mason Boyd Warren Dixon Burns Gordon Rice Hawkins Dunn Hudson Spencer "
        "Palmer",
    ),
    "town": _pool(
        "Mill Oak Ash Red Black North Wood Fair Wind High White Deer Fox Cold West East South Marsh Rock Sand King "
        "Church Hill Brook Hay Corn Barn Swan Apple Gold Crow Hawk Moss Bridge Cross Queen Iron Bay",
        "ford field dale ham bury wick mouth stead",
        joint="",
    ),
    "company": _pool(
        "Summit Delta Union Anchor Falcon Pioneer Global Metro Atlas Beacon Crown Eagle Comet Prime Vector Orbit "
        "Titan Phoenix Nova Zenith Apex Royal Pacific Arctic Granite Crystal Diamond Empire Liberty Victory",
        "Foods Motors Tools Mills Press Books Bank Paper Steel Glass Radio Films Games Toys Shoes Lamps",
    ),
    "film": _pool(
        "Silent Golden Broken Hidden Distant Frozen Secret Empty Burning Lonely Crimson Quiet Endless Wild Dark "
        "Lost Last Gentle Sleeping Dancing Falling Strange Perfect Sudden Final Sweet Bitter Velvet Restless "
        "Hollow",
        "Garden River Street Winter Island Mirror Forest Shadow Tower Morning Circus Desert Ocean Valley Window Train",
    ),
    "book": _pool(
        "Seven Twelve Three Nine Twenty Eleven Four Eight Thirty Fifteen Forty Sixty Fourteen Fifty Thirteen "
        "Sixteen Many Few Little Early Late Simple Modern Ancient Young Old Brave Honest Clever Humble",
        "Letters Kings Sisters Candles Bridges Doors Songs Horses Clocks Keys Maps Birds Ships Stories Lessons Flowers",
    ),
    "school": _pool(
        "Lincoln Madison Franklin Jefferson Newton Darwin Kepler Galileo Homer Milton Byron Shelley Austen Dickens "
        "Twain Edison Pasteur Curie Mozart Handel Haydn Chopin Verdi Monet",
        "School College Academy Institute",
    ),
    "county": _pool(
        "Cedar Maple Willow Birch Walnut Hazel Aspen Olive Laurel Holly Ivy Clover Juniper Poplar Cypress Lotus "
        "Lily Daisy Violet Tulip Orchid Iris Jasmine Heather",
        "County Shire Province District",
    ),
}

YEARS = {"train": range(1810, 1990, 2), "dev": range(1811, 1991, 2)}
