"""PyInstaller's hook: data files, versions, and the commands, which are named in strings."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

datas = collect_data_files("extd") + copy_metadata("extd", recursive=True)
hiddenimports = collect_submodules("extd.cli")
