"""What TS 38.211, 38.212 and 38.214 fix: sequences, pilots, coding of control information, modulation and coding."""
