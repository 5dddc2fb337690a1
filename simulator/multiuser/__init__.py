"""Precoders that serve several users and need to know which stream is whose."""
