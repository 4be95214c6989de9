"""Any OpenAI-compatible endpoint: its client, the journal of its replies, what it may cost.

| file | what |
|---|---|
| client.py | opens the endpoints and runs a session over the requests that are not journaled yet |
| session.py | workers that ask and retry, a writer that syncs replies in groups, what ends a session |
| endpoints.py | which server takes the next request, at what pace, and which is put aside |
| dialect.py | how one server wants its requests and words its replies |
| budget.py | what requests may cost: the estimate beforehand, and the limit that is never exceeded |
| replies.py | requests, their keys, the journal that makes sure none is paid for twice, what was used |
| served_student.py | the student behind an endpoint: its requests and completions |
"""
