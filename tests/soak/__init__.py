"""Hours of use in a row, and whether anything is left of them: `python -m tests.soak MINUTES`, see CONTRIBUTING.md."""
