"""PyInstaller's hook: data files, and the commands, which the package names in strings."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("extd")
hiddenimports = collect_submodules("extd.cli")
