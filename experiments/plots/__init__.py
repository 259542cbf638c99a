"""The figures: one module per kind of picture, one look for all."""
