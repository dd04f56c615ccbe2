"""Where data come from: a registry of public files, and one module for each source."""
