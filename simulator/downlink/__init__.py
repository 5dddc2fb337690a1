"""Whom the gNB serves, how, and how UEs demodulate."""
