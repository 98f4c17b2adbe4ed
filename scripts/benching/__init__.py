"""How fast autofix is, in parts: pictures, models, runs, memory, start, and what is written."""
