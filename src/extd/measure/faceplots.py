"""Pictures of which faces are found: precision-recall curves, recall by size, by attribute."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from extd.files import atomic_write
from extd.measure.curves import Curves
from extd.measure.figures import import_figure, look_of, save, tidy
from extd.measure.subsets import ATTRIBUTES, Found
from extd.measure.wider import DIFFICULTIES


def plot_curves(curves: Curves, official: Curves, caption: str, path: Path) -> None:
    """Draw precision over recall, a panel for each difficulty, with the AP of each detector.

    Args:
        curves: of detectors that were measured alike.
        official: of others, as published for the whole validation set; dashed.
        caption: what was measured, and how.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = import_figure()(figsize=(12, 5), layout="constrained")
    figure.suptitle(caption, fontsize=9, color="0.35")
    for axis, difficulty in zip(figure.subplots(1, 3), DIFFICULTIES, strict=True):
        for index, (name, found) in enumerate([*curves.items(), *official.items()]):
            if difficulty not in found:
                continue
            curve = found[difficulty]
            color, _ = look_of(index)
            line = "-" if index < len(curves) else "--"
            label = f"{curve.ap:.3f} {name}"
            axis.plot(curve.recall, curve.precision, line, color=color, label=label, linewidth=1.4)
        axis.set(title=difficulty, xlabel="recall", xlim=(0, 1), ylim=(0, 1.01))
        axis.legend(loc="lower left", fontsize=8, title="AP", title_fontsize=8, frameon=False)
        tidy(axis)
    figure.axes[0].set_ylabel("precision")
    save(figure, path)


def plot_sizes(
    found: Mapping[str, Found], names: Sequence[str], faces: Sequence[int], caption: str, path: Path
) -> None:
    """Draw recall over the size of faces.

    Args:
        found: by detector; of the groups of `subsets.by_size`.
        names: of these groups; the first one, all faces, is left out.
        faces: how many each has.
        caption: what was measured, and how.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = import_figure()(figsize=(9, 5), layout="constrained")
    figure.suptitle(caption, fontsize=9, color="0.35")
    axis = figure.subplots()
    places = np.arange(len(names) - 1)
    for index, (detector, result) in enumerate(found.items()):
        color, marker = look_of(index)
        axis.plot(places, result.recall[1:], color=color, marker=marker, label=detector)
    labels = [f"{name}\n({count:,})" for name, count in zip(names[1:], faces[1:], strict=True)]
    axis.set_xticks(places, labels, fontsize=8)
    axis.set(xlabel="size of faces in px (how many)", ylabel="recall", ylim=(0, 1.02))
    figure.legend(loc="outside lower center", frameon=False, ncols=4)
    tidy(axis)
    save(figure, path)


def plot_attributes(
    found: Mapping[str, Found], names: Sequence[str], faces: Sequence[int], caption: str, path: Path
) -> None:
    """Draw recall and AP of faces by WIDER FACE's attributes, a line of the picture for each value.

    Args:
        found: by detector; of the groups of `subsets.by_attribute`.
        names: of these groups.
        faces: how many each has.
        caption: what was measured, and how.
        path: of the picture; its suffix is the format.

    Raises:
        ImportError: Matplotlib is missing.
    """
    figure = import_figure()(figsize=(10, 5.6), layout="constrained")
    figure.suptitle(caption, fontsize=9, color="0.35")
    rows = -np.arange(len(names))
    # A gap before the first value of each attribute.
    starts = np.cumsum([1, *(len(values) for values in ATTRIBUTES.values())])[:-1]
    rows = rows - 0.6 * np.sum(np.arange(len(names))[:, None] >= starts, axis=1)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, field, title in zip(axes, ("recall", "ap"), ("recall", "AP"), strict=True):
        for index, (detector, result) in enumerate(found.items()):
            color, marker = look_of(index)
            values = getattr(result, field)
            axis.plot(values, rows, color=color, marker=marker, linestyle="", label=detector)
        axis.set(title=title, xlim=(0, 1))
        tidy(axis)
    labels = [f"{name} ({count:,})" for name, count in zip(names, faces, strict=True)]
    axes[0].set_yticks(rows, labels, fontsize=8.5)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=4
    )
    save(figure, path)


def write_found(
    found: Mapping[str, Found], names: Sequence[str], faces: Sequence[int], path: Path
) -> None:
    """Write the same as a table: detector, group, faces, recall, AP, false alarms a picture."""
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["detector", "group", "faces", "recall", "ap", "false_alarms"])
        for detector, result in found.items():
            rows = zip(names, faces, result.recall, result.ap, strict=True)
            table.writerows(
                [detector, name, count, f"{recall:.4f}", f"{ap:.4f}", f"{result.false_alarms:.3f}"]
                for name, count, recall, ap in rows
            )
