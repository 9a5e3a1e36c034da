"""Experiments: one file a figure. `measure(settings)` simulates, `draw(data)` draws, `claims(data)` compares."""
