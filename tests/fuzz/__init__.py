"""Coverage-guided fuzzing of what strangers can send: `python -m tests.fuzz SECONDS`, see CONTRIBUTING.md.

`targets.py` says what must hold for any input; `corpus` holds inputs that were interesting or went wrong once, which the
test suite replays without a fuzzer.
"""
