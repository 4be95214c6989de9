"""What the scripted teacher says: a few phrasings for each move of the monologue, and nothing else.

All wording is our own. Variety is kept modest on purpose: a 135M student learns these traces from a few hundred rows. A
phrase names a wrong value only where a draft really held it.
"""

from __future__ import annotations

from typing import Final

ASKED: Final = ("The question is about {subject}.", "We are asked about {subject}.")
ASKED_TWO: Final = ("We are asked to compare two.",)
SET_ASIDE: Final = ("We set aside {title}.", "{title} is not needed here.")
NOTHING_ASIDE: Final = ("All the documents that matter are here.",)

PLAN: Final = ("First we need {first}.", "We start with {first}.")
PLAN_MORE: Final = ("First we need {first}, then {rest}, then the answer.",)
PLAN_TWO: Final = ("First we need {first}, then {second}.", "We start with {first}, then take {second}.")

STEP: Final = ("Document {number} says {fact}.", "According to Document {number}, {fact}.")
STEP_ON: Final = ("Document {number}, on {title}, says {fact}.", "According to Document {number}, on {title}, {fact}.")
SOUND: Final = ("This step holds.", "So far so good.")
SETTLED: Final = ("That follows.", "That settles it.")
ORDER: Final = ("{low} comes before {high}.",)
NOT_OUTRIGHT: Final = ("No document says it outright, but so far the facts point one way.",)

DOUBT_LINK: Final = (
    "Wait, is {link} the right link? Document {number} says so.",
    "Hold on, what links them? {link}, by Document {number}.",
)
DOUBT_MIXED: Final = (
    "Wait, did we mix in {title}? No, Document {number} is on {subject}.",
    "Hold on, not {title}: Document {number} is on {subject}.",
)
DOUBT_PLAIN: Final = ("Wait, we look again at Document {number}: it says so.",)
DOUBT_SWAPPED: Final = ("Wait, did we swap the two? No, Document {number} is on {subject}.",)

WRONG_ELSEWHERE: Final = (
    "Wait, is it {wrong}? No, Document {number} says that of {title}.",
    "Hold on, not {wrong}: that is Document {number}, on {title}.",
)
WRONG_TITLE: Final = (
    "Wait, is it {wrong}? No, nothing links it to {subject}.",
    "Hold on, not {wrong}: it has no link to {subject}.",
)
WRONG_LINK: Final = (
    "Wait, is it {wrong}? No, that is only a link on the way.",
    "Hold on, not {wrong}: that is one step too early.",
)
WRONG_RIVAL: Final = (
    "Wait, is it {wrong}? No, the facts speak against it.",
    "Hold on, not {wrong}: Document {number} speaks against it.",
)
WRONG_ECHO: Final = (
    "Wait, is it {wrong}? No, the question says that itself.",
    "Hold on, not {wrong}: that only repeats the question.",
)
WRONG_NOWHERE: Final = (
    "Wait, is it {wrong}? No, no document says so.",
    "Hold on, not {wrong}: that was a guess.",
)
WRONG_UNNAMED: Final = (
    "Wait, did we only guess? No, Document {number} has it.",
    "Hold on, we look again at Document {number}: it is there.",
)

CHECK_CHAIN: Final = ("We check: {link} fits the question.", "To verify: {start}, then {link}.")
CHECK_FACT: Final = ("We check: this fits the question.", "To verify: Document {number} fits the question.")
CHECK_TWO: Final = ("We check: both facts are there.",)
CONCLUDE: Final = ("So the answer is {gold}.",)

GUIDE_FACT: Final = "Document {number} ({title}): {fact}."
GUIDE_NO_FACT: Final = "No single sentence supports the answer."
GUIDE_STEP: Final = "Link {index}: {link} ties Document {first} to Document {second}."
GUIDE_ONE_STEP: Final = "Read the key facts side by side and hold them against the question."
GUIDE_PITFALL: Final = "{title} only looks relevant; the tell is that it does not mention {subject}."
GUIDE_NO_PITFALL: Final = "Stopping before the last step; the tell is that the question is not answered in full."

UNSUPPORTED: Final = "UNSUPPORTED: no document names this answer."

PLAIN_STEP: Final = "Document {number}, on {title}, says {fact}."
PLAIN_NO_STEP: Final = "No document says it outright, but the facts point one way."
PLAIN_CONCLUDE: Final = "So the answer is {answer}."
GUESS: Final = "The documents name nothing closer, so the answer is a guess: {answer}."
