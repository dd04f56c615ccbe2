"""Real data and their embedded stand-ins: `registry` knows the files, the other modules read one source each."""
