"""`python -m tests.bench`: what the engine costs, as ratios to the floor and to Trio itself; see docs/performance.md."""
