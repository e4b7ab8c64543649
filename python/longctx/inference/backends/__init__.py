"""What computes a model's values for a rectangular batch of rows: one interface, and torch behind it by default."""
