"""STQENet (arXiv:2509.08776)."""
