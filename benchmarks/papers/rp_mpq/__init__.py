"""RP-MPQ: mixed-precision encoders chosen report by report, measured beside the paper."""
