"""What the sample pictures are put together from; scripts/make_samples.py is the command."""
