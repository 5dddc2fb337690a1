"""Predictors of the channel over the feedback delay."""
