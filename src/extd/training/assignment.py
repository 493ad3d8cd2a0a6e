"""Which anchors are positive, by the recipe's rule."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from extd.models.anchors import Level
from extd.training.atss import atss
from extd.training.matching import Targets, hidden, match
from extd.training.recipe import Loss


def assign(
    levels: Sequence[Level],
    anchors: Tensor,
    faces: Tensor,
    real: Tensor,
    ignore: Tensor,
    ignore_real: Tensor,
    settings: Loss,
) -> Targets:
    """Assign faces to the anchors of B pictures.

    Every picture gets what it would get alone. An anchor in an ignored region may still be
    positive, of a face that is not ignored. SimOTA needs predictions, so for `simota` no anchor
    has a face yet: `extd.training.simota.simota` completes the targets.

    Args:
        levels: of the anchors.
        anchors: A x 4 (cx, cy, w, h) px, of these levels.
        faces: B x N x 4, xyxy px; N is at least 1.
        real: B x N bool, which faces are no padding.
        ignore: B x M x 4 regions, xyxy px, in which anchors are not background.
        ignore_real: B x M bool, which regions are no padding.
        settings: rule and thresholds.
    """
    if settings.assignment == "s3fd":
        face = match(anchors, faces, real, settings)
    elif settings.assignment == "atss":
        face = atss(anchors, faces, real)
    else:
        shape = (len(faces), len(anchors))
        face = torch.full(shape, -1, dtype=torch.int64, device=anchors.device)
    return Targets(face, hidden(levels, ignore, ignore_real) & (face < 0))
