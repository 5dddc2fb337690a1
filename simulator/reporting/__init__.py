"""From estimates at the UE to CSI at the gNB: reports, uplink, prediction."""
