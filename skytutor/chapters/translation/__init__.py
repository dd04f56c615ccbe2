"""Chapter 5: from some bands of the sky to others.

Scenes of stars and galaxies as five surveys see them, one network for any subset of bands, and what
no network can beat.
"""
