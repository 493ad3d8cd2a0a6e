from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import extd


def test_every_exported_name_exists_and_no_other_is_public() -> None:
    assert sorted(extd.__all__) == extd.__all__
    for name in extd.__all__:
        assert getattr(extd, name) is not None
    modules = type(sys)
    public = {
        name
        for name, value in vars(extd).items()
        if not name.startswith("_") and not isinstance(value, modules)
    }
    assert public | {"__version__"} == set(extd.__all__)


def test_the_version_is_that_of_the_package() -> None:
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == extd.__version__


def test_onnx_runtime_tells_nobody_of_its_use(tmp_path: Path) -> None:
    # Its telemetry keeps a device id and a queue of events in the home folder.
    program = "import extd; extd.Detector(threads=1)"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []


def test_importing_loads_none_of_the_optional_packages() -> None:
    optional = {"torch", "onnx", "av", "PIL", "scipy", "safetensors", "yaml", "cyclopts", "rich"}
    program = f"import sys, extd; print(*sorted({optional!r} & sys.modules.keys()))"
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert result.stdout.split() == []
