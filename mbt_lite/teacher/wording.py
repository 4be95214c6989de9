"""What the scripted teacher says: a few phrasings for each move of the monologue, and nothing else.

All wording is our own. Variety is kept modest on purpose: a 135M student learns these traces from a few hundred rows. A
phrase names a wrong value only where a draft really held it. Every phase has a cue of `rewards/phase_cues.json`.
"""

from __future__ import annotations

from typing import Final

ASKED: Final = (
    "The question asks about {subject}.",
    "We are asked about {subject}.",
    "The question is about {subject}.",
)
ASKED_TWO: Final = ("The question asks us to weigh two.", "We are asked to compare two.")
SET_ASIDE: Final = ("We set aside {title}.", "{title} does not help us.", "{title} is not needed here.")
NOTHING_ASIDE: Final = ("All the documents that matter are here.", "Every one of the documents that matter is here.")

PLAN: Final = ("We start with {first}.", "First we need {first}.", "Once we know {first}, we can go on.")
PLAN_MORE: Final = (
    "First we need {first}, then {rest}, then the answer.",
    "In this order: {first}, {rest}, the answer.",
)
PLAN_TWO: Final = (
    "First we need the facts on {first}, then on {second}.",
    "We start with {first}, then take {second}.",
)

STEP: Final = ("Document {number} says {fact}.", "According to Document {number}, {fact}.")
STEP_ON: Final = ("Document {number}, on {title}, says {fact}.", "According to Document {number}, on {title}, {fact}.")
SOUND: Final = ("This step holds.", "That step is sound.", "So far so good.")
SETTLED: Final = ("That settles it.", "This follows.", "That follows.")
ORDER: Final = ("{low} comes before {high}.", "{low} is earlier than {high}.")
NOT_OUTRIGHT: Final = ("No document says it outright, but so far the facts point one way.",)

DOUBT_LINK: Final = (
    "Wait, is {link} the right link? Document {number} says so.",
    "Hold on, what links them? {link}, by Document {number}.",
    "Wait, do we have the link? {link}, by Document {number}.",
)
DOUBT_MIXED: Final = (
    "Wait, did we mix in {title}? Document {number} is on {subject}.",
    "Hold on, not {title}: Document {number} is on {subject}.",
)
DOUBT_PLAIN: Final = ("Wait, we look again at Document {number}: it says so.",)
DOUBT_SWAPPED: Final = (
    "Wait, did we swap the two? Document {number} is on {subject}.",
    "Hold on, which is which? Document {number} is on {subject}.",
)

WRONG_ELSEWHERE: Final = (
    "Wait, at first we were drawn to {wrong}, but Document {number} says that of {title}.",
    "Hold on, our first idea was {wrong}, but that is from Document {number}, on {title}.",
)
WRONG_TITLE: Final = (
    "Wait, at first we were drawn to {wrong}, but nothing links it to {subject}.",
    "Hold on, our first idea was {wrong}, but it has no link to {subject}.",
)
WRONG_LINK: Final = (
    "Wait, at first we stopped at {wrong}, but that is only a link on the way.",
    "Hold on, our first idea was {wrong}, but that is one step too early.",
)
WRONG_RIVAL: Final = (
    "Wait, at first we were drawn to {wrong}, but the facts speak against it.",
    "Hold on, our first idea was {wrong}, but Document {number} speaks against it.",
)
WRONG_ECHO: Final = (
    "Wait, at first we were drawn to {wrong}, but that only repeats the question.",
    "Hold on, our first idea was {wrong}, but the question says that itself.",
)
WRONG_NOWHERE: Final = (
    "Wait, at first we were drawn to {wrong}, but no document says so.",
    "Hold on, our first idea was {wrong}, but that was a guess.",
)
WRONG_UNNAMED: Final = (
    "Wait, our first idea had no document behind it. Document {number} has it.",
    "Hold on, at first we only guessed. We look again at Document {number}.",
)

CHECK_CHAIN: Final = (
    "We check: {link} fits the question.",
    "Let us check: {start}, then {link}.",
    "To verify: {start}, then {link}.",
)
CHECK_FACT: Final = ("Let us check: this fits the question.", "To verify: Document {number} fits the question.")
CHECK_TWO: Final = ("Let us check: both facts are there.", "To verify: both sides are read.")
CONCLUDE: Final = ("So the answer is {gold}.",)

GUIDE_FACT: Final = "Document {number} ({title}): {fact}."
GUIDE_NO_FACT: Final = "No single sentence supports the answer."
GUIDE_STEP: Final = "Link {index}: {link} ties Document {first} to Document {second}."
GUIDE_ONE_STEP: Final = "Read the key facts side by side and hold them against the question."
GUIDE_PITFALL: Final = "{title} only looks relevant; the tell is that it does not mention {subject}."
GUIDE_NO_PITFALL: Final = "Stopping before the last step; the tell is that the question is not answered in full."
