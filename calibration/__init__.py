"""How often the intervals that `escape` prints hold the truth: many small experiments whose answer is known.

A case says what is simulated and what is estimated from it; `python -m calibration` repeats them all and writes the
table of `docs/statistics.md`.
"""
