"""RP-MPQ: mixed-precision encoders chosen report by report, measured and compared with the paper."""
