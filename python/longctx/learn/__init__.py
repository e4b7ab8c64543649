"""Learning: labelled data, training, evaluation and its report."""
