"""The judge: what rules cannot see in a trace is asked of a model, and only a faultless verdict becomes a number.

| file | what |
|---|---|
| subjects.py | what is judged, and the requests about it: one prompt text and one verdict format per kind |
| verdicts.py | from a reply to a verdict, or to the reason why there is none |
| panel.py | asks about all completions of a run, through the teacher's client and journal |
| agreement.py | the judge held against itself, and against our labels |
| labelled.py | traces of our own making with labels, and what the judge says of them |
"""
