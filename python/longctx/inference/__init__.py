"""The engine that keeps a device busy: what to run where, in which batches, and what to do when memory ends."""
