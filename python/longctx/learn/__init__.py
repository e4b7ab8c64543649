"""Learning from labelled documents: what a model said about them, how good that is, and beside what."""
