"""Labelled pictures: formats, checks and packing. Nothing here needs torch."""
