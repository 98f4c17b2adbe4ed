"""The ways in: each feeds pictures to the pipeline and forgives one that fails."""
