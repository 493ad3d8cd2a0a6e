from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from pkgutil import resolve_name

import extd

PACKAGE = Path(extd.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))


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
    assert PROJECT["project"]["version"] == extd.__version__


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


def test_the_package_runs_from_a_zip_archive(tmp_path: Path, examples: Path) -> None:
    archive = tmp_path / "extd.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in PACKAGE.rglob("*"):
            if path.suffix in {".py", ".json", ".onnx", ".jpg"}:
                file.write(path, path.relative_to(PACKAGE.parent))
    environment = {**os.environ, "PYTHONPATH": str(archive)}
    for command in (["detect", examples / "astronaut.jpg"], ["doctor"]):
        program = "import sys, extd.cli.app as app; print(app.__file__); sys.exit(app.main())"
        result = subprocess.run(
            [sys.executable, "-c", program, *command],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(str(archive))


def test_pyinstaller_is_told_of_the_data_files_and_the_commands() -> None:
    ((_, name),) = PROJECT["project"]["entry-points"]["pyinstaller40"].items()
    (folder,) = resolve_name(name)()
    hook = Path(folder, "hook-extd.py").read_text("utf-8")
    assert 'collect_data_files("extd")' in hook
    assert 'collect_submodules("extd.cli")' in hook
