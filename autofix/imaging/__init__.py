"""Arithmetic on pictures: colour, grain, similarity, harmonic fill."""
