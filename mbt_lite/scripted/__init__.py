"""The embedded teacher and judge: rules behind a real HTTP server, for a demo and tests that need no other.

| file | what |
|---|---|
| server.py | a loopback server with the OpenAI chat schema |
| writer.py, monologue.py, wording.py, evidence.py | the teacher's replies: a rule-based writer, its search for facts |
| judge.py | the judge's replies: verdicts by rule |
"""
