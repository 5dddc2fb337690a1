"""User selection, ranks and precoding at the gNB, detection at the UE."""
