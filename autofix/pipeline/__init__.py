"""The order of the stages, the batches, and the tools they share."""
