"""Layers on the sphere. ``pixel`` holds those that work on HEALPix pixels."""
