"""The engine that inpaints with diffusers, and its parts."""
