"""Checkpoint files: what they are, and how they become a diffusers pipeline."""
