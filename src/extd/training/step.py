"""One optimiser step: a batch, its losses, their gradient."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from extd.models.anchors import anchor_boxes, anchor_levels
from extd.training.batches import Batch
from extd.training.distillation import distillation_loss
from extd.training.distributed import Processes
from extd.training.loss import Truth, count, multitask_loss
from extd.training.matching import Targets
from extd.training.objective import Objective, Outputs
from extd.training.recipe import Recipe
from extd.training.state import State
from extd.training.teacher import Teacher

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MODE_GAP = 1.5
"""An evaluation loss this many times the training loss is reported."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a step did, over all processes.

    Attributes:
        loss: what was minimised, the sum of the next five.
        classes, boxes: the two parts of equation 3.
        landmarks: the landmark loss.
        first_shot: the progressive anchor loss.
        teacher: the distillation loss.
        positives: how many anchors were positive.
        gradient: norm of the gradient before clipping.
        stop: some process was asked to stop.
    """

    loss: float
    classes: float
    boxes: float
    landmarks: float
    first_shot: float
    teacher: float
    positives: float
    gradient: float
    stop: bool


class Stepper:
    """Makes the steps of a run.

    Args:
        state: moved by every step.
        recipe: of the run.
        here: this process.
        teacher: to learn from beside the labels, or None.
    """

    def __init__(
        self, state: State, recipe: Recipe, here: Processes, teacher: Teacher | None = None
    ) -> None:
        self.state, self.recipe, self.here, self.teacher = state, recipe, here, teacher
        run: nn.Module = state.objective
        if recipe.compute.sync_norms and here.world > 1 and here.device.type == "cuda":
            run = nn.SyncBatchNorm.convert_sync_batchnorm(run)  # type: ignore[no-untyped-call]
        if recipe.compute.compile:
            run.compile(dynamic=False)
        if here.world > 1:
            run = DistributedDataParallel(run)
        self.run = run

    def step(self, batch: Batch, rate: float, *, stop: bool = False) -> Report:
        """Learn from this process's share of a batch.

        Args:
            batch: crops with targets.
            rate: learning rate.
            stop: this process was asked to stop; every process hears of it in the report.

        Raises:
            ValueError: the loss is not finite; the message names the pictures.
        """
        state, here, parts = self.state, self.here, self.recipe.compute.accumulate
        for optimizer in state.optimizers:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = rate
        counts = here.total(self._counts(batch))
        sums = torch.zeros(6, device=here.device)
        size = len(batch.paths) // parts
        for index in range(parts):
            # Processes exchange their gradients once, with the last part.
            parallel = isinstance(self.run, DistributedDataParallel) and index < parts - 1
            with cast(DistributedDataParallel, self.run).no_sync() if parallel else nullcontext():
                part = part_of(batch, slice(index * size, (index + 1) * size))
                losses = self.losses(self.run, part, counts, state.precision, self.teacher)
                # They average them; the divisors already count all crops.
                total = state.scaler.scale(losses[:5].sum() * here.world)
                total.backward()  # type: ignore[no-untyped-call]
            sums += losses.detach()
        for optimizer in state.optimizers:
            state.scaler.unscale_(optimizer)
        limit = self.recipe.optimizer.clip or math.inf
        norm = nn.utils.clip_grad_norm_(state.objective.parameters(), limit)
        asked = torch.tensor([float(stop)], device=here.device)
        *values, stopped = here.total(torch.cat([sums, asked])).tolist()
        classes, boxes, landmarks, first_shot, taught, positives = values
        loss, gradient = sum(values[:5]), norm.item()
        # With fp16, a step whose gradient overflows is skipped and the scale lowered.
        finite = math.isfinite(loss) and (math.isfinite(gradient) or state.scaler.is_enabled())
        if not finite:
            raise ValueError(
                f"the loss of step {state.step} is {loss}, its gradient {gradient}; the last good "
                f"checkpoint is kept. Pictures of the batch: {', '.join(batch.paths)}"
            )
        for optimizer in state.optimizers:
            state.scaler.step(optimizer)
        state.scaler.update()
        return Report(
            loss,
            classes,
            boxes,
            landmarks,
            first_shot,
            taught,
            positives,
            gradient,
            stop=stopped > 0,
        )

    def _counts(self, batch: Batch) -> Tensor:
        """Positives and divisors of the heads and of the first shot: 2 x 2."""
        shots = (batch.targets, batch.first_shot)
        rows = [count(t, self.recipe.loss) if t is not None else torch.zeros(2) for t in shots]
        return torch.stack([row.to(self.here.device) for row in rows])

    def losses(
        self,
        run: Callable[[Tensor], Outputs],
        batch: Batch,
        counts: Tensor,
        precision: str,
        teacher: Teacher | None = None,
    ) -> Tensor:
        """Classes, boxes, landmarks, first shot and teacher; and how many positives.

        Args:
            run: the objective, wrapped or not.
            batch: crops with targets, on any device.
            counts: 2 x 2, positives and divisors over the whole batch.
            precision: a key of `PRECISIONS`.
            teacher: to compare with, too.
        """
        settings, device = self.recipe.loss, self.here.device
        images = batch.images.to(device, non_blocking=True)
        mixed = torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32")
        with mixed:
            outputs = run(images)
        shape = images.shape[2], images.shape[3]
        levels = anchor_levels(self.recipe.config, *shape)
        anchors = anchor_boxes(self.recipe.config, *shape, device)
        truth = Truth(batch.faces.to(device), batch.real.to(device), batch.landmarks.to(device))
        targets = _moved(batch.targets, device)
        own = multitask_loss(
            outputs.predictions, levels, anchors, targets, truth, settings, counts[0]
        )
        first_shot = taught = torch.zeros((), device=device)
        if outputs.first_shot is not None and batch.first_shot is not None:
            halved = torch.cat([anchors[:, :2], anchors[:, 2:] / 2], 1)
            early = _moved(batch.first_shot, device)
            smaller = [level._replace(side=level.side / 2) for level in levels]
            shot = multitask_loss(
                outputs.first_shot, smaller, halved, early, truth, settings, counts[1]
            )
            first_shot = settings.progressive * (shot.classes + shot.boxes)
        if teacher is not None:
            with mixed:
                told = distillation_loss(
                    outputs.predictions,
                    outputs.maps,
                    teacher,
                    images,
                    anchors,
                    self.recipe.distillation,
                )
            # It is a mean over its own crops: of parts and processes, too.
            taught = told.total / (self.recipe.compute.accumulate * self.here.world)
        parts = own.classes, own.boxes, own.landmarks, first_shot, taught
        return torch.stack([*parts, own.positives.float()])


def part_of(batch: Batch, part: slice) -> Batch:
    """Some of the crops of a batch."""
    if part == slice(0, len(batch.paths)):
        return batch
    first_shot = batch.first_shot
    return Batch(
        batch.images[part],
        batch.faces[part],
        batch.real[part],
        Targets(*(t[part] for t in batch.targets)),
        None if first_shot is None else Targets(*(t[part] for t in first_shot)),
        batch.landmarks[part],
        batch.paths[part],
    )


def _moved(targets: Targets, device: torch.device) -> Targets:
    return Targets(*(part.to(device, non_blocking=True) for part in targets))


def compare_modes(stepper: Stepper, batch: Batch, console: Console) -> tuple[float, float]:
    """The loss of the same crops with batch and with running statistics, reported if they differ.

    Nets that share one set of statistics over six passes can train well and then detect nothing.
    """
    recipe = stepper.recipe
    with torch.no_grad():
        losses = []
        for training in (True, False):
            probe = copy.deepcopy(stepper.state.objective).train(training)
            parts = stepper.losses(probe, batch, stepper._counts(batch), "fp32")
            losses.append(parts[:3].sum().item())
    trained, evaluated = losses
    console.print(f"loss with batch statistics {trained:.3f}, as in detection {evaluated:.3f}")
    if not evaluated < MODE_GAP * trained:
        advice = (
            f"freeze_norms puts them in force from step {recipe.freeze_norms}"
            if recipe.freeze_norms
            else "set freeze_norms, or use a model with a batch norm a pass"
        )
        console.print(f"[yellow]warning: batch norms behave otherwise in detection; {advice}")
    return trained, evaluated


def choose_precision(recipe: Recipe, objective: Objective, device: torch.device) -> str:
    """The recipe's precision; for `auto`, the faster on this machine, timed on a few steps.

    Raises:
        ValueError: fp16 is wanted without CUDA.
    """
    wanted = recipe.compute.precision
    if wanted == "fp16" and device.type != "cuda":
        raise ValueError(f"precision fp16 needs CUDA, not {device.type}; take bf16 or auto")
    if wanted != "auto":
        return wanted
    seconds = {}
    crop = recipe.augmentation.crops[0]
    images = torch.zeros(4, 3, crop, crop, device=device)
    for name in ("fp32", "bf16"):
        probe = copy.deepcopy(objective).train()
        for _ in range(3):  # the last of three counts: the first ones warm up
            began = time.perf_counter()
            with torch.autocast(device.type, PRECISIONS[name], enabled=name != "fp32"):
                predictions = probe(images).predictions
            loss = predictions.logits.float().mean() + predictions.regression.float().mean()
            loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name] = time.perf_counter() - began
    return min(seconds, key=lambda name: seconds[name])
