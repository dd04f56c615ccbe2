"""Timings against named peers, made in one run on one machine: ``make bench``."""
