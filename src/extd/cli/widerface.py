"""`extd data widerface`: WIDER FACE, fetched, checked and unpacked."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from extd.cli.terminal import Folder, count, print_error, print_line, usage


def widerface(
    *,
    root: Folder,
    only: Annotated[
        list[str] | None,
        Parameter(metavar="NAME", consume_multiple=True, show_default="all but WIDER_test"),
    ] = None,
    mirror: Annotated[str | None, Parameter(metavar="URL", show_default="official")] = None,
) -> int:
    """Get WIDER FACE: unpack the archives at hand, fetch the others, check them all.

    Archives that you have go into the folder first, as WIDER_train.zip; they stay as they are.
    What is unpacked already is left alone. After Ctrl-C the same command goes on. To fetch all
    takes 1.8 GB, and 1.8 GB more with WIDER_test, whose faces are not published. If an archive
    fails, the others go on, and the exit code is 1.

        extd data widerface --root wider

    Args:
        root: Folder for archives and pictures.
        only: What to get: WIDER_train, WIDER_val, WIDER_test, wider_face_split (the labels),
            eval_tools (the lists that `extd eval wider` needs).
        mirror: Address of a folder that has the archives, instead of the official ones.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from extd.data.download import find_archives, install

    with usage():
        archives = find_archives(only or (), root)
    console, errors, failed = Console(), Console(stderr=True), False
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=None)

        def show(what: str, now: int, total: int) -> None:
            bar.update(task, description=what, completed=now, total=total or None)

        for archive in archives:
            try:
                done = install(archive, root, mirror, show)
            except (ValueError, OSError) as error:
                print_error(str(error), errors)
                failed = True
                continue
            pictures = f", {count(done.pictures, 'picture')}" if done.pictures else ""
            print_line(console, f"{done.folder}: {done.action}{pictures}")
            for warning in done.warnings:
                print_line(errors, f"warning: {warning}")
    left = sorted(path for path in root.glob("*.zip") if path.with_suffix("").is_dir())
    if left:
        size = sum(path.stat().st_size for path in left) / 1e6
        names = " ".join(map(str, left))
        print_line(console, f"no longer needed, {size:,.0f} MB: {names}")
    return 1 if failed else 0
