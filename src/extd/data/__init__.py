"""Datasets of labeled images: read, checked, and written in the formats of `datasets.FORMATS`."""
