"""Fine-tuning: from labeled images to a detector for them, with its AP before and after."""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from extd.catalog import DEFAULT_MODEL, RECIPES
from extd.cpu import cores
from extd.data.labels import write_jsonl
from extd.data.near_duplicates import NearDuplicate, compare_samples, group_near_duplicates
from extd.data.sample import Sample, write_text
from extd.detector import Detector
from extd.evaluation.comparison import (
    MIN_TEST_IMAGES,
    THRESHOLD,
    Detected,
    difference_interval,
    draw_errors,
    run_detector,
)
from extd.evaluation.protocols import single
from extd.media.writers import write_image
from extd.models.config import LiteConfig, NetworkConfig, parse_name
from extd.models.export import export_onnx
from extd.models.lite import Lite
from extd.models.network import load_network, save_network
from extd.models.quantize import export_int8, read_evenly
from extd.signals import exit_on_repeat
from extd.training.checkpoint import (
    BEST,
    WEIGHTS,
    Stopped,
    choose_precision,
    find_initial,
    new_state,
)
from extd.training.cost import Cost, measure_cost
from extd.training.distributed import init_distributed
from extd.training.image_cache import (
    check_apart,
    check_samples,
    choose_with_faces,
    drop_invalid,
    drop_repeated,
    open_images,
    split,
)
from extd.training.loader import open_loader
from extd.training.metrics import detect_exported
from extd.training.optimizers import move_weights
from extd.training.recipe import DataSet, Recipe, load_recipe
from extd.training.trainer import probe_step, train

PAPER_LOSS = {
    "assigner": "s3fd",
    "classification": "cross_entropy",
    "box_weight": 2.0,
    "size_ratio": 0.0,
    "normalizer": "released",
}
"""What the recipe changes for a network of the paper, as in the recipe of extd-fpn-32-prelu."""
MIN_IMAGES = 10
MIN_STEPS = 10
MAX_EPOCHS = 200
"""Crops of each image after which it teaches nothing more."""
MAX_VALIDATIONS, VALIDATION_SHARE = 5, 0.2
"""How often AP is measured while training, if that takes at most this share of the time."""
MAX_GENERAL, GENERAL_SHARE = 500, 0.5
"""General images that are mixed in, which bounds the time to decode them, and their share of the
crops."""
TUNED_SHARE = 0.7
"""With general images, weight of the fine-tuned network in its mean with the one before: it forgets
far less, and keeps most of what it learned (arXiv 2109.01903, docs/log.md)."""
MAX_TOLD = 10
"""Lines about images and boxes that are left out."""
ERRORS = "errors.jpg"
RECIPE = Path(str(RECIPES / "finetune.yaml"))

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A fine-tuning whose inputs are checked: images to learn from and to measure on."""

    out: Path
    weights: Path  # to begin with
    recipe: Recipe
    train: Sequence[Sample]
    test: Sequence[Sample]
    keep: Sequence[Sample] = ()  # general images, mixed in so that they are not forgotten
    notes: Sequence[str] = ()  # lines about near-duplicates, and images and boxes left out


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A fine-tuned detector. `rise` is the 95 % interval of the difference in AP."""

    model: Path  # ONNX
    before: dict[str, float]
    after: dict[str, float]
    rise: tuple[float, float]

    @property
    def better(self) -> bool:
        """Whether AP rose beyond noise."""
        return self.rise[0] > 0


def plan_finetune(
    labels: Path,
    out: Path,
    *,
    init: str = DEFAULT_MODEL,
    test: Path | None = None,
    keep: Path | None = None,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Plan:
    """Read and check all that `finetune` needs; writes nothing.

    Args:
        labels: labeled images, in any format that `extd data check` reads.
        out: a new folder.
        init: a model whose weights ship, or a `.safetensors` file.
        test: labeled images to measure on, instead of a share of `labels`.
        keep: labeled images of other kinds; up to `KEPT` of them are mixed in.
        progress: wraps the images that are compared, to show a progress bar.

    Raises:
        FileExistsError: there is something in `out`.
        FileNotFoundError: labels, images or weights are missing.
        ValueError: nothing can be learned from the labels, or no such weights ship.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; choose another folder")
    weights = find_initial(init)
    folder = out.absolute() / "training"
    changes: dict[str, Any] = {"init": init if weights != Path(init) else str(weights.absolute())}
    changes |= _model_changes(load_network(weights)[0].config)
    changes["validation.path"] = str(folder / "test.jsonl")
    recipe = load_recipe(RECIPE, [folder / "train.jsonl"], changes=changes)
    smallest = recipe.augmentation.min_face
    samples = check_samples(labels, MIN_IMAGES, smallest)
    held_out = check_samples(test, 1, smallest) if test else []
    general = choose_with_faces(check_samples(keep, 1, smallest), MAX_GENERAL) if keep else []
    count = len(samples)
    valid, dropped = zip(*map(drop_invalid, (samples, held_out, general)), strict=True)
    left_out = [*chain.from_iterable(dropped)]
    (samples, held_out, general), pairs = compare_samples(valid, progress, left_out.append)
    groups = group_near_duplicates([sample.path for sample in samples], pairs)
    if len(groups) < MIN_IMAGES:
        raise ValueError(
            f"{labels} has {count} images, but only {len(groups)} that differ and can be used; "
            f"label at least {MIN_IMAGES}, better 100 and more" + "\n".join(["", *left_out[:5]])
        )
    if test:
        check_apart(labels, samples, test, held_out, pairs)
    else:
        samples, held_out = split(samples, groups)
    if keep:
        general, repeated = drop_repeated(keep, general, [*samples, *held_out], pairs)
        left_out = [*repeated, *left_out]
    recipe = _mix(recipe, folder, samples, general)
    notes = _describe_notes(samples, pairs, left_out)
    return Plan(out, weights, recipe, samples, held_out, general, notes)


def _describe_notes(
    train: Sequence[Sample], pairs: Sequence[NearDuplicate], left_out: Sequence[str]
) -> list[str]:
    """Those of `Plan`."""
    paths = {sample.path for sample in train}
    copies = {pair.second: pair.first for pair in pairs if {pair.first, pair.second} <= paths}
    notes = [
        f"{len(copies)} images to learn from are near-duplicates of others, such as {one} of {of}"
        for one, of in [*copies.items()][:1]
    ]
    notes += [f"left out: {line}" for line in left_out[:MAX_TOLD]]
    if (more := len(left_out) - MAX_TOLD) > 0:
        notes.append(f"left out: {more:,} more; extd data check names all of them")
    return notes


def _mix(recipe: Recipe, folder: Path, train: Sequence[Sample], keep: Sequence[Sample]) -> Recipe:
    """The recipe with `GENERAL_SHARE` of its crops from `keep`, if there are any."""
    if not keep:
        return recipe
    faces = sum(len(sample.boxes) > 0 for sample in train)
    weight = GENERAL_SHARE / (1 - GENERAL_SHARE) * faces / len(keep)
    kept = DataSet(path=str(folder / "keep.jsonl"), weight=weight)
    data = recipe.data.model_copy(update={"sets": (*recipe.data.sets, kept)})
    return recipe.model_copy(update={"data": data})


def _model_changes(config: NetworkConfig) -> dict[str, Any]:
    """The keys of the recipe that say which network is trained, and with which loss."""
    lite = isinstance(config, LiteConfig)
    try:
        changes: dict[str, Any] = {"model": config.name}
        known = parse_name(config.name) == config
    except ValueError:
        changes, known = {"model": DEFAULT_MODEL}, False
    if not known:
        changes["network"] = dataclasses.asdict(config)
    return changes if lite else changes | {f"loss.{key}": v for key, v in PAPER_LOSS.items()}


def finetune(
    plan: Plan, minutes: float = 20.0, report: Report = print, began: float | None = None
) -> Result:
    """Train, keep the weights with the highest AP, and export them into the folder of the plan.

    The folder gets `model.onnx`, `model-int8.onnx` for EXTD-Lite, `model.safetensors`, `model.md`,
    `errors.jpg` if there are errors, and the run in `training`. Where AP does not rise beyond
    noise, `not-better` stands for `model` in these names. Ctrl-C or SIGTERM ends the training
    early, and the best weights so far are exported.

    Args:
        plan: of `plan_finetune`.
        minutes: for everything; steps are timed, and as many are made as fit.
        report: is told what is done, a line each.
        began: what minutes count from, a time of `time.monotonic`; by default now.

    Raises:
        ValueError: as `train`.
        KeyboardInterrupt: a signal came before the first step, or twice.
    """
    end = (time.monotonic() if began is None else began) + minutes * 60
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    folder = plan.out / "training"
    folder.mkdir(parents=True, exist_ok=True)
    with exit_on_repeat():
        try:
            _write_labels(plan, folder, report)
            before = _train(plan, folder, end, report)
        except BaseException:
            if not (folder / WEIGHTS).exists():
                # So that the same command can be given again.
                shutil.rmtree(folder)
            raise
        return _export(plan, folder, before)


def _train(plan: Plan, folder: Path, end: float, report: Report) -> Detected:
    """Leave the best weights in `folder` before the time `end`; what those before detect."""
    with TemporaryDirectory(dir=plan.out, prefix="cache-") as cache:
        recipe, cost = _time_steps(plan.recipe, Path(cache))
        began = time.monotonic()
        network = load_network(plan.weights)[0]
        before = detect_exported(network, plan.test, torch.get_num_threads())
        measuring = time.monotonic() - began
        report(f"AP before: {before.ap['all']:.3f}")
        left = end - time.monotonic()
        recipe = _fit_recipe(recipe, len(plan.train), left, cost.step_seconds, measuring)
        cost = dataclasses.replace(cost, steps=recipe.iterations)
        count = recipe.iterations // recipe.validation.every
        report(f"{cost}; AP is measured {count} times, {measuring:.0f} s each")
        try:
            train(recipe, folder, cache=Path(cache), cost=cost)
        except Stopped:
            report("exporting the best weights so far; a second signal ends this, too")
    return before


def _write_labels(plan: Plan, folder: Path, report: Report) -> None:
    """Write what the recipe reads, and tell what it is."""
    parts = (plan.train, plan.keep, plan.test)
    uses = {"train": "learn from", "keep": "keep", "test": "measure on"}
    for (name, use), samples in zip(uses.items(), parts, strict=True):
        if samples:
            write_jsonl(samples, folder / f"{name}.jsonl")
            faces = sum(len(sample.boxes) for sample in samples)
            report(f"{len(samples):,} images to {use}, with {faces:,} faces")
    for line in plan.notes:
        report(line)


def _export(plan: Plan, folder: Path, before: Detected) -> Result:
    """Measure the best weights of the run in `folder`, and write what `finetune` promises."""
    best = folder / BEST
    network, notes = load_network(best if best.exists() else folder / WEIGHTS)
    if plan.keep:
        move_weights(network, load_network(plan.weights)[0], 1 - TUNED_SHARE)
    exported = folder / "network.onnx"  # tracing takes 10 s: only once
    export_onnx(network, exported, notes)
    after = run_detector(partial(single, Detector(exported)), plan.test)
    rise = difference_interval(before, after)
    name = "model" if rise[0] > 0 else "not-better"
    result = Result(plan.out / f"{name}.onnx", before.ap, after.ap, rise)
    save_network(network, plan.out / f"{name}.safetensors", notes)
    exported.replace(result.model)
    int8 = None
    if isinstance(network, Lite):
        int8 = _export_int8(network, result.model, plan, notes)
    if (sheet := draw_errors(after)) is not None:
        write_image(plan.out / ERRORS, sheet)
    write_text(plan.out / f"{name}.md", card(plan, result, int8, notes))
    return result


def _time_steps(recipe: Recipe, cache: Path) -> tuple[Recipe, Cost]:
    """The recipe with the faster precision, and what its steps cost."""
    with init_distributed(None) as dist:
        images = open_images(recipe.data, cache, Console(stderr=True))
        state = new_state(recipe, dist.device)
        state.precision = choose_precision(recipe, state.network, dist.device)
        with closing(open_loader(recipe, images, dist)) as batches:
            first = next(batches)
            step, size = probe_step(state, recipe, first, dist), first.images.shape[-1]
            cost = measure_cost(step, recipe.iterations, size, recipe, dist.device)
    compute = recipe.compute.model_copy(update={"precision": state.precision})
    return recipe.model_copy(update={"compute": compute}), cost


def _fit_recipe(
    recipe: Recipe, images: int, seconds: float, step: float, measuring: float
) -> Recipe:
    """The recipe with as many steps and measurements as fit into `seconds`."""
    count = int(VALIDATION_SHARE * seconds / measuring)
    count = min(max(count, 1), MAX_VALIDATIONS)
    # At the end AP is measured again, and two files are exported.
    fitting = int((seconds - (count + 3) * measuring) / step)
    steps = max(min(fitting, MAX_EPOCHS * images // recipe.batch), MIN_STEPS)
    optimizer = recipe.optimizer.model_copy(
        update={"warmup": min(recipe.optimizer.warmup, steps // 5)}
    )
    validation = recipe.validation.model_copy(update={"every": -(-steps // count)})
    return recipe.model_copy(
        update={"iterations": steps, "optimizer": optimizer, "validation": validation}
    )


def _export_int8(network: Lite, model: Path, plan: Plan, notes: dict[str, object]) -> float:
    """Write the int8 file beside the float one; its AP."""
    path = model.with_name(f"{model.stem}-int8.onnx")
    images = [sample.path for sample in (*plan.train, *plan.keep)]
    export_int8(network, path, read_evenly(images), notes)
    return run_detector(partial(single, Detector(path)), plan.test).ap["all"]


def describe_rise(result: Result) -> str:
    """AP before and after, and whether the difference is more than noise, in a sentence or two."""
    before, after = result.before["all"], result.after["all"]
    line = f"AP {before:.3f} before, {after:.3f} after: {after - before:+.3f}"
    low, high = result.rise
    if math.isinf(high):
        return f"{line}. Fewer than {MIN_TEST_IMAGES} test images have faces: this may be noise"
    noise = f"{line} (95 % interval {low:+.3f} to {high:+.3f})"
    return noise if result.better else f"{noise}. It did not rise beyond noise"


def card(plan: Plan, result: Result, int8: float | None, notes: dict[str, object]) -> str:
    """The model card, in Markdown."""
    rows = [
        f"| {size} | {result.before[size]:.3f} | {result.after[size]:.3f} |"
        for size in result.before
        if not math.isnan(result.before[size])
    ]
    quantized = "" if int8 is None else f"\nThe int8 file has an AP of {int8:.3f}.\n"
    errors = f"It makes no errors on them at a threshold of {THRESHOLD}."
    if (plan.out / ERRORS).exists():
        errors = f"`{ERRORS}` shows what it misses and what it takes for faces."
    kept = ""
    if plan.keep:
        kept = f", and {len(plan.keep):,} general ones; the mean of the weights before and after"
    faces = [sum(len(sample.boxes) for sample in part) for part in (plan.train, plan.test)]
    advice = f"""```sh
extd detect photo.jpg --model {result.model.name}
```"""
    if not result.better:
        advice = """**Not recommended: AP did not rise beyond noise.** Use the model that it began \
with, or fine-tune with more images or more minutes."""
    return f"""# {result.model.stem}

{plan.recipe.model}, fine-tuned on {date.today().isoformat()}. {describe_rise(result)}.

| faces | AP before | AP after |
|---|---:|---:|
{chr(10).join(rows)}

AP at IoU 0.5 (protocol `single`) on {len(plan.test):,} images with {faces[1]:,} faces that were \
not learned from. \
They also chose the best of the measured weights, which flatters it a little.
{quantized}
- Learned from {len(plan.train):,} images with {faces[0]:,} faces{kept}.
- Training: {notes.get("training", "unknown")}.
- Training data: {notes.get("training_data", "unknown")}.
- License of the weights it began with: {notes.get("license", "unknown")}. \
Your images add their own terms.
- {errors}

{advice}
"""
