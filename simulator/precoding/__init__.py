"""Precoders."""
