"""Networks that restore faces and scale pictures up."""
