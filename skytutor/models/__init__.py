"""Networks, one file a chapter."""
