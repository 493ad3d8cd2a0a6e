"""The page that covers faces in the browser: its folder, MIME types and headers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

_POLICY = {
    "default-src": "'self'",
    "connect-src": "'self'",
    "script-src": "'self' 'wasm-unsafe-eval'",
    "worker-src": "'self'",
    "img-src": "'self' blob:",
    "media-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{key} {value}" for key, value in _POLICY.items()),
    # Browsers share memory between threads only in isolated pages.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

# The system's own table may lack these, or have them wrong.
TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}


def find_page() -> Path:
    """The folder of the built page, which the package `extd-web` brings.

    Raises:
        ImportError: the package is missing.
        FileNotFoundError: the page is not built.
    """
    try:
        folder: Path = import_module("extd_web").DIST
    except ModuleNotFoundError as error:
        hint = "run: pip install 'extd[web]'"
        raise ImportError(f"the page needs the package extd-web; {hint}") from error
    if not (folder / "index.html").is_file():
        raise FileNotFoundError(f"{folder} holds no page; run: make web")
    return folder
