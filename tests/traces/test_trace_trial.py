"""The trial: a few traces first, and no more where too few of them pass; a changed gate asks nobody again.

The teacher is the scripted one behind real HTTP, its replies spoiled on their way out.
"""
