"""What a run has learned, for people: the terminal table and one self-contained HTML page."""
