"""Tells PyInstaller what of the package it cannot see; found by the entry point `pyinstaller40`."""

from pathlib import Path


def hook_dirs() -> list[str]:
    """The folder with the hook."""
    return [str(Path(__file__).parent)]
