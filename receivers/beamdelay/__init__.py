"""Beam-delay transform coding of precoder directions: frame, contexts, coder and search."""
