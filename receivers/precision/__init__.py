"""RP-MPQ: bit widths of an encoder, chosen offline and online."""
