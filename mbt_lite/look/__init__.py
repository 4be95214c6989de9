"""Looking at question files before a run: what is read of them, and what the student will see."""
