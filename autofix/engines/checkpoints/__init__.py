"""Checkpoint files: recognises them, and loads them as a diffusers pipeline."""
