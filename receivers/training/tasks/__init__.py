"""One file for each kind of training."""
