"""Torch parts: checkpoints, row embeddings and the aggregators that turn chunk results into one."""
