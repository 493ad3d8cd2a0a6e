"""The training loop: setup, steps, checkpoints."""

from __future__ import annotations

import copy
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from extd.models.anchors import anchor_boxes
from extd.models.extd import Extd, Predictions
from extd.training.batches import Batch, batches
from extd.training.dataset import open_store, read_labels, sampling_shares
from extd.training.loss import Losses, multitask_loss
from extd.training.recipe import Recipe
from extd.training.runfolder import (
    append_log,
    default_cache,
    interruption,
    open_log,
    progress_bar,
    write_recipe,
)
from extd.training.state import (
    new_state,
    rate_at,
    restore,
    save,
    set_modes,
    settle_norms,
    update_average,
)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
LOG_EVERY = 20
MODE_GAP = 1.5
"""An evaluation loss this many times the training loss is reported."""


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    device: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
) -> Path:
    """Train a network and write its weights, checkpoint and log into the folder `out`.

    Args:
        recipe: what to train, on what and how.
        out: run folder.
        resume: go on from `out/checkpoint.pt`; without one, begin.
        device: torch device; CUDA where there is one by default.
        threads: CPU threads of the network.
        cache: folder for the decoded pictures, by default the user's cache folder.

    Returns:
        `out/weights.safetensors`, the averaged weights.

    Raises:
        FileExistsError: `out` holds a run and `resume` is not set.
        ValueError: data, recipe or checkpoint do not fit, or the loss is not finite.
    """
    console = Console(stderr=True)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists() and not resume:
        raise FileExistsError(f"{out} holds a run already; add --resume or choose another folder")
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; give 1 or more")
        torch.set_num_threads(threads)
    target = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    compiler = os.environ.get("CXX", "g++")
    if recipe.compile and target.type == "cpu" and not shutil.which(compiler):
        raise ValueError(f"compile needs the C++ compiler {compiler}; install it, or set it false")
    pictures = read_labels(Path(recipe.data.labels), tuple(recipe.data.sources))
    store = open_store(pictures, cache or default_cache())
    shares = sampling_shares(pictures, recipe.data.sources)

    state = new_state(recipe, target)
    if checkpoint.exists():
        restore(state, checkpoint, recipe)
    write_recipe(recipe, out)
    open_log(out / "log.csv", state.step)
    # What was timed once stays, so that a resumed run computes alike; a recipe may insist.
    if recipe.precision != "auto" or not state.precision:
        state.precision = choose_precision(recipe, state.network, target)
    precision = PRECISIONS[state.precision]
    console.print(
        f"{recipe.model} on {target}, {state.precision}, {torch.get_num_threads()} threads, "
        f"{len(pictures)} pictures, from step {state.step} of {recipe.iterations}"
    )
    crop = recipe.augmentation.crop
    anchors = anchor_boxes(crop, crop).to(target)
    run = torch.compile(state.network) if recipe.compile else state.network

    began, rows = time.perf_counter(), []
    feed = batches(state.step, recipe, store, shares)
    with interruption() as interrupted, progress_bar(console) as progress:
        task = progress.add_task("", total=recipe.iterations, completed=state.step, loss=math.nan)
        for batch in feed:
            if state.step == recipe.freeze_norms:
                settle_norms(state)
            set_modes(state.network, state.step, recipe)
            rate = rate_at(state.step, recipe.iterations, recipe.optimizer)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            losses = batch_loss(run, batch, anchors, recipe, precision)
            loss = losses.total.item()
            state.optimizer.zero_grad()
            losses.total.backward()  # type: ignore[no-untyped-call]
            limit = recipe.optimizer.clip or math.inf
            norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), limit).item()
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise ValueError(
                    f"the loss of step {state.step} is {loss}, its gradient {norm}; the last good "
                    f"checkpoint is kept. Pictures of the batch: {', '.join(batch.paths)}"
                )
            state.optimizer.step()
            update_average(state, recipe.ema)
            state.step += 1

            seconds = time.perf_counter() - began
            parts = (loss, losses.classes.item(), losses.boxes.item(), losses.positives, norm)
            rows.append((state.step, rate, *parts, seconds))
            progress.update(task, completed=state.step, loss=loss)
            if state.step == min(recipe.save_every, recipe.iterations):
                compare_modes(state.network, batch, anchors, recipe, console)
            last = state.step == recipe.iterations or interrupted.is_set()
            due = state.step % recipe.save_every == 0
            if state.step % LOG_EVERY == 0 or due or last:
                append_log(out / "log.csv", rows)
                rows.clear()
            if due or last:
                save(state, recipe, out)
            if interrupted.is_set():
                console.print(f"stopped after step {state.step}; go on with --resume")
                break
    return out / "weights.safetensors"


def batch_loss(
    run: Callable[[Tensor], Predictions],
    batch: Batch,
    anchors: Tensor,
    recipe: Recipe,
    precision: torch.dtype,
) -> Losses:
    """Run the network on a batch and compare; `anchors` A x 4 (cx, cy, w, h) on its device."""
    device = anchors.device
    images = batch.images.to(device).float().contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        predictions = run(images)
    targets = [type(t)(*(part.to(device) for part in t)) for t in batch.targets]
    faces = [f.to(device) for f in batch.faces]
    return multitask_loss(predictions, anchors, targets, faces, recipe.loss)


def compare_modes(
    network: Extd, batch: Batch, anchors: Tensor, recipe: Recipe, console: Console
) -> tuple[float, float]:
    """The loss of the same crops with batch and with running statistics, reported if they differ.

    Nets that share one set of statistics over six passes can train well and then detect nothing.
    """
    with torch.no_grad():
        losses = []
        for training in (True, False):
            probe = copy.deepcopy(network).train(training)
            losses.append(batch_loss(probe, batch, anchors, recipe, torch.float32).total.item())
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


def usable_device(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        ValueError: there is none, or it does not work here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} does not work here: {reason}") from error
    return device


def choose_precision(recipe: Recipe, network: Extd, device: torch.device) -> str:
    """The recipe's precision; for `auto`, the faster on this machine, timed on a few steps."""
    if recipe.precision != "auto":
        return recipe.precision
    seconds = {}
    crop = recipe.augmentation.crop
    images = torch.zeros(4, 3, crop, crop, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    for name, precision in PRECISIONS.items():
        probe = copy.deepcopy(network).train()
        for _ in range(3):  # the last of three counts: the first ones warm up
            began = time.perf_counter()
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                predictions = probe(images)
            loss = predictions.logits.float().mean() + predictions.regression.float().mean()
            loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name] = time.perf_counter() - began
    return min(seconds, key=lambda name: seconds[name])
