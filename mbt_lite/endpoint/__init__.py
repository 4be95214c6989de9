"""Any OpenAI-compatible endpoint: its client, the journal of its replies, what it may cost.

| file | what |
|---|---|
| opening.py | opens the endpoints of a stage: one journal, one account, one function that asks |
| client.py | runs a session over the requests that are not journaled yet |
| session.py | workers that ask and retry, a writer that syncs replies in groups, what ends a session |
| servers.py | which server takes the next request, at what pace, and which is put aside |
| post.py | one body to one server, and what can come of it |
| dialect.py | how one server wants its requests: learnt from its refusals, and from one probe |
| reading.py | how servers word their replies |
| again.py | replies that a server's settings spoiled before: does it do better now? |
| notes.py | what servers gave away about themselves, for the report |
| budget.py | what requests may cost: the estimate beforehand, and the limit that is never exceeded |
| replies.py | requests, their keys, the journal that makes sure none is paid for twice, what was used |
| served_student.py | the student behind an endpoint: its requests and completions |
"""
