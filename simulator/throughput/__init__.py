"""Transport blocks, link adaptation, CQI."""
