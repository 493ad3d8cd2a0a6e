"""A training run from its recipe to its weights: setup, loop, checkpoints."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch.profiler import profile as profiler

from extd.data.sample import Sample
from extd.training.batches import Batch, open_feed
from extd.training.distributed import Processes, processes
from extd.training.journal import open_journal
from extd.training.mixture import fingerprint, read_mixture
from extd.training.plots import plot_run
from extd.training.recipe import Recipe
from extd.training.runfolder import (
    default_cache,
    interruption,
    progress_bar,
    write_origin,
    write_recipe,
)
from extd.training.state import State, new_state, rate_at, restore, save, set_modes, update_average
from extd.training.step import PRECISIONS, Stepper, choose_precision, compare_modes
from extd.training.store import PictureStore, open_store, sampling_shares, sift
from extd.training.teacher import Teacher, load_teacher
from extd.training.validation import average_precision, open_validation

CHECKPOINT = "checkpoint.pt"
LOG_SECONDS = 5.0


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    device: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
    profile: int = 0,
) -> Path:
    """Train a network and write its weights, checkpoint and logs into the folder `out`.

    Under torchrun, every process calls this and trains on its share of each batch.

    Args:
        recipe: what to train, on what and how; its paths are absolute.
        out: run folder.
        resume: go on from the checkpoint in `out`; without one, begin.
        device: torch device; CUDA where there is one by default.
        threads: CPU threads of the network.
        cache: folder for the decoded pictures, by default the user's cache folder.
        profile: steps to record in `out/profile.json`, for chrome://tracing or Perfetto.

    Returns:
        `out/weights.safetensors`, the averaged weights.

    Raises:
        FileExistsError: `out` holds a run and `resume` is not set, or weights that nothing goes
            on from.
        FileNotFoundError: labelled pictures or the teacher are missing.
        ValueError: data, recipe or checkpoint do not fit, or the loss is not finite.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was saved.
    """
    if (out / CHECKPOINT).exists() and not resume:
        raise FileExistsError(f"{out} holds a run already; add --resume or choose another folder")
    if (out / "weights.safetensors").exists() and not (out / CHECKPOINT).exists():
        raise FileExistsError(f"{out} holds weights without a checkpoint; choose another folder")
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; give 1 or more")
        torch.set_num_threads(threads)
    with processes(device) as here:
        console = Console(stderr=True, quiet=not here.leads)
        _check(recipe, here)
        with here.one_first():
            store, weights = open_pictures(recipe, cache or default_cache(), console)
        shares = sampling_shares(store.pictures, weights)
        measured = recipe.validation.path if here.leads else ""
        validation = open_validation(measured) if measured else []
        teacher = None
        if recipe.distillation.teacher:
            teacher = load_teacher(
                recipe.distillation.teacher,
                recipe.config,
                here.device,
                threads=torch.get_num_threads(),
            )
        state = open_state(recipe, out, store, here, teacher)
        if state.step >= recipe.iterations:
            told = f"{out} has made its {recipe.iterations} steps: nothing is left to do"
            console.print(told, markup=False, highlight=False, soft_wrap=True)
            return out / "weights.safetensors"
        if here.leads:
            write_recipe(recipe, out)
            write_origin(out, state, len(store.pictures), here.device)
        console.print(
            f"{recipe.model} on {here.device}, {state.precision}, {torch.get_num_threads()} "
            f"threads, {len(store.pictures)} pictures, from step {state.step} of "
            f"{recipe.iterations}"
        )
        feed = open_feed(recipe, store, shares, here.device, state.step, here.rank, here.world)
        with closing(feed):
            stepper = Stepper(state, recipe, here, teacher)
            _loop(stepper, feed, validation, out, console, profile)
        if here.leads:
            plot_run(out)
    return out / "weights.safetensors"


def _check(recipe: Recipe, here: Processes) -> None:
    """Refuse early what could not work.

    Raises:
        ValueError: there is no compiler, or the batch cannot be divided.
    """
    compiler = os.environ.get("CXX", "g++")
    if recipe.compute.compile and here.device.type == "cpu" and not shutil.which(compiler):
        raise ValueError(f"compile needs the C++ compiler {compiler}; install it, or set it false")
    shares = here.world * recipe.compute.accumulate
    if recipe.batch % shares:
        raise ValueError(
            f"batch is {recipe.batch}; give a multiple of {shares}, the processes times accumulate"
        )


def open_pictures(
    recipe: Recipe, cache: Path, console: Console
) -> tuple[PictureStore, list[float]]:
    """The usable pictures of a recipe, decoded, and how often each is drawn."""
    mixture = read_mixture(recipe.data)
    pictures, dropped = sift(list(mixture))
    weights = dict(zip(pictures, mixture.values(), strict=True))
    store = open_store(pictures, cache, recipe.data.max_unreadable)
    for line in (*dropped, *store.unreadable):
        console.print(f"left out: {line}", markup=False, highlight=False, soft_wrap=True)
    return store, [weights[picture] for picture in store.pictures]


def open_state(
    recipe: Recipe, out: Path, store: PictureStore, here: Processes, teacher: Teacher | None
) -> State:
    """A fresh run, or the one whose checkpoint is in `out`.

    Raises:
        ValueError: the checkpoint does not fit, or the processes have different ones.
    """
    feed = recipe.compute.feed
    if feed == "auto":
        feed = "device" if here.device.type == "cuda" else "cpu"
    begun = (out / CHECKPOINT).exists()
    # The checkpoint has all weights: those that the run began with need not be there any more.
    initial = replace(recipe, init="") if begun else recipe
    state = new_state(initial, here.device, fingerprint(store.pictures), feed, teacher)
    if begun:
        restore(state, out / CHECKPOINT, recipe)
    first = here.of_first(state.step)
    if here.total(torch.tensor(abs(state.step - first), device=here.device)).item():
        raise ValueError(
            f"the processes do not stand at one step, this one at {state.step}, the first at "
            f"{first}; give every machine the first one's {out / CHECKPOINT}"
        )
    # What was timed once stays, so that a resumed run computes alike; a recipe may insist.
    if recipe.compute.precision != "auto" or not state.precision:
        chosen = choose_precision(recipe, state.objective, here.device)
        kinds = list(PRECISIONS)
        state.precision = kinds[here.of_first(kinds.index(chosen))]
    return state


def _loop(
    stepper: Stepper,
    feed: Generator[Batch],
    validation: Sequence[Sample],
    out: Path,
    console: Console,
    profile: int,
) -> None:
    """Make the steps that are left."""
    state, recipe, here = stepper.state, stepper.recipe, stepper.here
    first, began, waited, logged, told = state.step, time.perf_counter(), 0.0, 0.0, ""
    with ExitStack() as stack:
        interrupted = stack.enter_context(interruption())
        journal = stack.enter_context(open_journal(out, state.step)) if here.leads else None
        progress = stack.enter_context(progress_bar(console))
        task = progress.add_task("", total=recipe.iterations, loss=math.nan, speed="")
        tracer = stack.enter_context(profiler()) if profile and here.leads else None
        while state.step < recipe.iterations:
            asked = time.perf_counter()
            batch = next(feed)
            waited += time.perf_counter() - asked
            set_modes(state, recipe)
            rate = rate_at(state.step, recipe.iterations, recipe.optimizer)
            report = stepper.step(batch, rate, stop=interrupted.is_set())
            update_average(state, recipe.ema)
            state.step += 1
            state.sides.add(batch.images.shape[-1])

            seconds = time.perf_counter() - began
            speed = (state.step - first) * recipe.batch / seconds
            told = f"{speed:,.0f} crops/s, {waited / seconds:.0%} waiting for data"
            progress.update(task, completed=state.step, loss=report.loss, speed=told)
            end = state.step == recipe.iterations
            last = end or report.stop
            if tracer is not None and (state.step - first == profile or last):
                tracer.stop()
                tracer.export_chrome_trace(str(out / "profile.json"))
                tracer = None
            if journal is not None:
                journal.add(state.step, rate, report, seconds, waited)
                due = last or state.step % recipe.save_every == 0
                # Synchronised norms would wait for processes that do not compare.
                alone = here.world == 1 or not recipe.compute.sync_norms
                if alone and state.step == min(recipe.save_every, recipe.iterations):
                    compare_modes(stepper, batch, console)
                if due or seconds - logged > LOG_SECONDS:
                    journal.flush()
                    logged = seconds
                if due:
                    save(state, recipe, out)
                if validation and (end or state.step % recipe.validation.every == 0):
                    ap = average_precision(state.average, validation, torch.get_num_threads())
                    journal.measured(state.step, ap)
                    console.print(f"step {state.step}: AP {ap['all']:.4f} on validation pictures")
            if report.stop and not end:
                console.print(f"stopped after step {state.step}; go on with --resume")
                raise KeyboardInterrupt
    console.print(told)
