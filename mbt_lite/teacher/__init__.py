"""The teacher: the client of any OpenAI-compatible endpoint, the journal of its replies, and the embedded scripted one.

| file | what |
|---|---|
| client.py | sends requests, with bounded concurrency and retries, through the official `openai` client |
| replies.py | the journal that makes sure no request is paid for twice, and the token account |
| scripted.py | the embedded teacher: a loopback server with the OpenAI chat schema |
| writer.py, evidence.py | what that server replies: a rule-based writer and its search for facts |
"""
