"""A training run from its recipe to its weights."""

from __future__ import annotations

import copy
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from extd.cpu import cores
from extd.data.sample import Sample
from extd.models.anchors import anchor_boxes, anchor_levels
from extd.models.config import ExtdConfig
from extd.models.extd import Predictions
from extd.models.network import build_network
from extd.signals import exit_on_repeat, stop_on_signals
from extd.training.checkpoint import (
    CHECKPOINT,
    PRECISIONS,
    WEIGHTS,
    Stopped,
    TrainState,
    load_init,
    open_state,
    save,
    save_best,
)
from extd.training.cost import Cost, check_machine, estimate
from extd.training.distributed import Distributed, init_distributed, parallel_network
from extd.training.image_cache import ImageCache, fingerprint, open_images
from extd.training.loader import Batch, feed_of, open_loader
from extd.training.losses import count, multitask_loss
from extd.training.metrics import (
    StepMetrics,
    detect_exported,
    open_log,
    open_validation,
    plot_run,
    profile_steps,
    progress_bar,
    write_run_info,
)
from extd.training.optimizers import build_optimizers, lr_at, set_modes, update_average
from extd.training.recipe import Recipe

FLUSH_SECONDS = 5.0
STATISTICS_STEPS = 100
"""Until then, running statistics (momentum 0.1) are near their initial values in any network."""
MODE_GAP = 1.5
"""An evaluation loss this many times the training loss is reported."""

Network = Callable[[Tensor], Predictions]


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    device: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
    profile: int = 0,
    cost: Cost | None = None,
) -> Path:
    """Train a network and write its weights, checkpoint and logs into the folder `out`.

    Stages run one after the other, the last in `out`, those before in `out/stage1` and so on.
    Under torchrun, every process calls this and trains on its share of each batch.

    Args:
        recipe: what to train, on what and how; its paths are absolute.
        out: run folder.
        resume: go on from the checkpoint in `out`; without one, begin.
        device: torch device; CUDA where there is one by default.
        threads: CPU threads of the network.
        cache: folder for the decoded images, by default the user's cache folder.
        profile: steps to record in `out/profile.json`, for chrome://tracing or Perfetto.
        cost: of the steps, where it was measured and told before.

    Returns:
        `out/weights.safetensors`, the averaged weights.

    Raises:
        FileExistsError: `out` holds a run, and `resume` is not set or finds no checkpoint.
        FileNotFoundError: labeled images are missing.
        ValueError: data, recipe or checkpoint do not fit, or the loss is not finite.
        Stopped: Ctrl-C or SIGTERM, which leaves a checkpoint.
        KeyboardInterrupt: it came twice.
    """
    recipes = recipe.stage_recipes
    folders = [out / f"stage{number}" for number in range(1, len(recipes))] + [out]
    for folder in folders:
        _check_folder(folder, resume=resume)
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; give 1 or more")
    # By itself, torch does not follow the cgroup's quota.
    torch.set_num_threads(threads or min(torch.get_num_threads(), cores()))
    cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "extd"
    with exit_on_repeat(), init_distributed(device) as dist:
        console = Console(stderr=True, quiet=not dist.is_main, soft_wrap=True, highlight=False)
        stages = open_stages(recipes, folders, dist, cache, console)
        stop = threading.Event()
        # One handler for all stages: Ctrl-C between two of them must not be lost.
        with stop_on_signals(stop):
            for number, stage in enumerate(stages):
                if number and dist.any(stop.is_set()):
                    console.print(f"stopped after {folders[number - 1]}", markup=False)
                    raise Stopped
                # In the last folder, `extd train OUT/recipe.yaml` makes all stages again.
                written = recipe if stage is stages[-1] else stage.recipe
                train_stage(stage, written, dist, stop, console, profile, cost)
    return out / WEIGHTS


def _check_folder(folder: Path, *, resume: bool) -> None:
    begun = (folder / CHECKPOINT).exists()
    if begun and not resume:
        raise FileExistsError(f"{folder} holds a run; add --resume or choose another folder")
    if (folder / WEIGHTS).exists() and not begun:
        raise FileExistsError(f"{folder} holds weights without a checkpoint; choose another folder")


@dataclass(frozen=True, slots=True)
class Stage:
    """A recipe without stages, its run folder, and decoded images."""

    recipe: Recipe
    folder: Path
    images: ImageCache
    validation: Sequence[Sample]


def open_stages(
    recipes: Sequence[Recipe],
    folders: Sequence[Path],
    dist: Distributed,
    cache: Path,
    console: Console,
) -> list[Stage]:
    """Check and open all that the stages need, so that none fails after hours of training."""
    # Cheap checks first: decoding images may take minutes.
    for recipe in recipes:
        check_machine(recipe, dist)
        for path in (*(dataset.path for dataset in recipe.data.sets), recipe.validation.path):
            if path and not Path(path).exists():
                raise FileNotFoundError(f"there is no file or folder {path}")
    if recipes[0].init and not (folders[0] / CHECKPOINT).exists():
        load_init(build_network(recipes[0].config), recipes[0].init)
    stages: list[Stage] = []
    for recipe, folder in zip(recipes, folders, strict=True):
        if stages:
            weights = (stages[-1].folder / WEIGHTS).absolute()
            recipe = recipe.model_copy(update={"init": str(weights)})
        # Only the main process measures.
        validation = open_validation(recipe.validation.path) if dist.is_main else []
        if stages and stages[-1].recipe.data == recipe.data:
            images = stages[-1].images
        else:
            with dist.local_main_first():
                images = open_images(recipe.data, cache, console)
        stages.append(Stage(recipe, folder, images, validation))
    return stages


def train_stage(
    stage: Stage,
    written: Recipe,
    dist: Distributed,
    stop: threading.Event,
    console: Console,
    profile: int,
    cost: Cost | None,
) -> None:
    """Train one stage and leave the recipe `written` in its folder; see `train`."""
    recipe, out, samples = stage.recipe, stage.folder, stage.images.samples
    feed = feed_of(recipe, dist.device)
    state = open_state(recipe, out, fingerprint(samples), feed, dist)
    state.sources = frozenset(sample.source for sample in samples)
    if state.step >= recipe.iterations:
        console.print(f"{out} already has all {recipe.iterations} steps", markup=False)
        return
    if dist.is_main:
        write_run_info(written, out, state, len(samples), dist.device)
    console.print(
        f"{recipe.model} on {dist.device}, {state.precision}, {torch.get_num_threads()} threads, "
        f"{len(samples)} images, from step {state.step} of {recipe.iterations}"
    )
    with closing(open_loader(recipe, stage.images, dist, state.step)) as batches:
        first = next(batches)
        compiled = recipe.compute.compile is True
        if cost is None:
            left, size = recipe.iterations - state.step, first.images.shape[-1]
            compiled = estimate(
                probe_step(state, recipe, first, dist), left, size, recipe, dist, console
            )
        settings = recipe.compute.model_copy(update={"compile": compiled})
        network = parallel_network(state.network, settings, dist)
        _run_steps(stage, state, network, dist, chain([first], batches), stop, console, profile)
    if dist.is_main:
        plot_run(out)


def probe_step(
    state: TrainState, recipe: Recipe, batch: Batch, dist: Distributed
) -> Callable[[], object]:
    """A training step to time, on a copy of the network."""
    # Optimizers keep references to what they move.
    copied = copy.deepcopy(state.network)
    optimizers = build_optimizers(copied, recipe.optimizer, dist.device)
    scaler = copy.deepcopy(state.scaler)
    probe = replace(state, network=copied, optimizers=optimizers, scaler=scaler)
    set_modes(copied, state.average, state.step, recipe.freeze_bn_at)
    return partial(train_step, copied, batch, probe, recipe, dist, 0.0)


def _run_steps(
    stage: Stage,
    state: TrainState,
    network: Network,
    dist: Distributed,
    batches: Iterator[Batch],
    stop: threading.Event,
    console: Console,
    profile: int,
) -> None:
    """Make the steps that are left."""
    recipe, out = stage.recipe, stage.folder
    first, began, waited, flushed, speed = state.step, time.perf_counter(), 0.0, 0.0, ""
    with ExitStack() as stack:
        log = stack.enter_context(open_log(out, first)) if dist.is_main else None
        progress = stack.enter_context(progress_bar(console))
        task = progress.add_task("", total=recipe.iterations, loss=math.nan, speed="")
        profiler = profile_steps(out, profile) if profile and dist.is_main else None
        stack.enter_context(profiler or nullcontext())
        for step in range(first, recipe.iterations):
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            lr = lr_at(step, recipe.iterations, recipe.optimizer)
            set_modes(state.network, state.average, step, recipe.freeze_bn_at)
            metrics, stopped = train_step(network, batch, state, recipe, dist, lr, stop.is_set())
            update_average(state.average, state.network, step, recipe.ema)
            # Several processes agree on it in their next step.
            stopped = stopped or (dist.world_size == 1 and stop.is_set())
            state.step = step + 1
            state.crop_sizes.add(batch.images.shape[-1])
            if profiler is not None:
                profiler.step()

            seconds = time.perf_counter() - began
            crops_per_second = (state.step - first) * recipe.batch / seconds
            speed = f"{crops_per_second:,.0f} crops/s, {waited / seconds:.0%} waiting for data"
            progress.update(task, completed=state.step, loss=metrics.loss, speed=speed)
            end = state.step == recipe.iterations
            if log is not None:
                due = end or stopped or state.step % recipe.save_every == 0
                flush = due or seconds - flushed > FLUSH_SECONDS
                flushed = seconds if flush else flushed
                log.add(state.step, lr, metrics, seconds, waited, flush)
                # Synchronized norms would wait for processes that do not compare.
                alone = dist.world_size == 1 or not recipe.compute.sync_batchnorm
                if alone and state.step == mode_check_step(recipe):
                    compare_modes(state, batch, recipe, console)
                if due:
                    save(state, recipe, out)
                if stage.validation and (end or state.step % recipe.validation.every == 0):
                    ap = detect_exported(state.average, stage.validation).ap
                    if log.add_validation(state.step, ap):
                        save_best(state, recipe, out)
                    console.print(f"step {state.step}: AP {ap['all']:.4f} on validation images")
            if stopped and not end:
                console.print(f"stopped after step {state.step}")
                raise Stopped
    console.print(speed)


def train_step(
    network: Network,
    batch: Batch,
    state: TrainState,
    recipe: Recipe,
    dist: Distributed,
    lr: float,
    stop: bool = False,
) -> tuple[StepMetrics, bool]:
    """Learn from this process's share of a batch.

    Returns:
        The metrics over all processes, and whether one of them was asked to `stop`.

    Raises:
        ValueError: the loss is not finite; the message names the images.
    """
    parts = recipe.compute.accumulate
    for optimizer in state.optimizers:
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = lr
    counts = dist.sum(count(batch.targets, recipe.loss).to(dist.device))
    sums = torch.zeros(4, device=dist.device)
    size = len(batch.paths) // parts
    for index in range(parts):
        # Processes exchange their gradients once, with the last part.
        wrapped = network if isinstance(network, DistributedDataParallel) else None
        with wrapped.no_sync() if wrapped and index < parts - 1 else nullcontext():
            part = batch.part(slice(index * size, (index + 1) * size)) if parts > 1 else batch
            losses = batch_losses(network, part, recipe, counts, state.precision, dist.device)
            # They average their gradients; the divisors already count all crops.
            total = state.scaler.scale(losses[:3].sum() * dist.world_size)
            total.backward()  # type: ignore[no-untyped-call]
        sums += losses.detach()
    for optimizer in state.optimizers:
        state.scaler.unscale_(optimizer)
    limit = recipe.optimizer.grad_clip or math.inf
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), limit)
    asked = torch.tensor([float(stop)], device=dist.device)
    *values, stopped = dist.sum(torch.cat([sums, asked])).tolist()
    loss, gradient = sum(values[:3]), norm.item()
    # With fp16, a step whose gradient overflows is skipped and the scale lowered.
    if not (math.isfinite(loss) and (math.isfinite(gradient) or state.scaler.is_enabled())):
        raise ValueError(
            f"the loss of step {state.step + 1} is {loss}, its gradient {gradient}; earlier "
            f"checkpoints are kept. Images of the batch: {', '.join(batch.paths)}"
        )
    for optimizer in state.optimizers:
        state.scaler.step(optimizer)
    state.scaler.update()
    return StepMetrics._make([loss, *values, gradient]), stopped > 0


def batch_losses(
    network: Network,
    batch: Batch,
    recipe: Recipe,
    counts: Tensor,
    precision: str,
    device: torch.device,
) -> Tensor:
    """`extd.training.losses.Losses` of a batch, or of a part of it, as 4 float32.

    `counts` are those of `count`, over the whole batch of all processes.
    """
    batch = batch.to(device)
    with torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32"):
        predictions = network(batch.images)
    height, width = batch.images.shape[2:]
    levels = anchor_levels(recipe.config, height, width)
    anchors = anchor_boxes(recipe.config, height, width, device)
    losses = multitask_loss(
        predictions, levels, anchors, batch.labels, batch.targets, recipe.loss, counts
    )
    return torch.stack([part.float() for part in losses])


def mode_check_step(recipe: Recipe) -> int:
    """The step after which `compare_modes` is called; 0 for frozen norms and short runs."""
    step = max(min(recipe.save_every, recipe.iterations), STATISTICS_STEPS)
    frozen = 0 < recipe.freeze_bn_at <= step
    return 0 if frozen or step > recipe.iterations else step


def compare_modes(
    state: TrainState, batch: Batch, recipe: Recipe, console: Console
) -> tuple[float, float]:
    """The loss of the same crops with batch and with running statistics; warns if they differ.

    Nets that share one set of statistics over six passes can train well and then detect nothing.
    """
    device = next(state.network.parameters()).device
    counts, losses = count(batch.targets, recipe.loss).to(device), []
    for training in (True, False):
        probe = copy.deepcopy(state.network).train(training)
        with torch.no_grad():
            parts = batch_losses(probe, batch, recipe, counts, "fp32", device)
        losses.append(parts[:3].sum().item())
    trained, evaluated = losses
    console.print(
        f"loss with batch statistics {trained:.3f}, with running statistics {evaluated:.3f}"
    )
    if not evaluated < MODE_GAP * trained:
        shared = isinstance(recipe.config, ExtdConfig) and not recipe.config.norm_per_pass
        remedy = "a model with a batch norm for each pass" if shared else "a larger batch"
        advice = f"set freeze_bn_at, or take {remedy}"
        if recipe.freeze_bn_at:
            advice = f"freeze_bn_at switches to running statistics at step {recipe.freeze_bn_at}"
        console.print(f"[yellow]warning: batch norms behave differently at inference; {advice}")
    return trained, evaluated
