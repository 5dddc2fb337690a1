"""Leaderboard: frozen tracks, and entries with results that anybody can look up, check and beat."""
