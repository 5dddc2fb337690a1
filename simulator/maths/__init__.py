"""Mathematics of rates and transforms."""
