"""What inpaints a Crop. `base` says what an engine promises; the others keep the promise."""
