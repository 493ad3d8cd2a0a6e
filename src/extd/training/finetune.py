"""Fine-tuning: adapt a detector to labeled images and compare its AP before and after."""

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
from extd.data.near_duplicates import (
    compare_samples,
    describe_duplicates,
    group_near_duplicates,
)
from extd.data.sample import Sample, write_text
from extd.detector import Detector
from extd.evaluation.comparison import (
    THRESHOLD,
    Detected,
    describe_rise,
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
"""Changes to the recipe's loss for the paper's networks, as in the recipe of extd-fpn-32-prelu."""
MIN_IMAGES = 10
MIN_STEPS = 10
MAX_EPOCHS = 200
"""Crops of each image; more of them bring nothing."""
MAX_VALIDATIONS, VALIDATION_SHARE = 5, 0.2
"""How often AP is measured during training, within this share of the time."""
MAX_GENERAL, GENERAL_SHARE = 500, 0.5
"""General images that are mixed in, a bound on the time for decoding, and their share of crops."""
TUNED_SHARE = 0.7
"""With general images, the share of the fine-tuned weights in their mean with the initial ones: it
forgets far less and keeps most of what it learned (arXiv 2109.01903, docs/log.md)."""
EXPORT_SECONDS = 15.0
"""Time for an ONNX export on a slow core."""
CALIBRATION = 200
"""Images in which detection takes as long as calibrating the int8 file."""
MAX_NOTES = 10
"""Lines of `Plan.notes` that are printed."""
ERRORS = "errors.jpg"
RECIPE = Path(str(RECIPES / "finetune.yaml"))

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Checked inputs of a fine-tuning."""

    out: Path
    weights: Path  # the initial ones
    recipe: Recipe
    train: Sequence[Sample]
    test: Sequence[Sample]
    keep: Sequence[Sample] = ()  # general images, mixed in against forgetting
    notes: Sequence[str] = ()  # lines about near-duplicates, and images and boxes left out


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A fine-tuned detector; `rise` is the 95 % interval of the difference in AP."""

    model: Path  # ONNX
    before: dict[str, float]
    after: dict[str, float]
    rise: tuple[float, float]

    @property
    def better(self) -> bool:
        """Whether AP rose beyond noise."""
        return self.rise[0] > 0

    def __str__(self) -> str:
        return describe_rise(self.before["all"], self.after["all"], self.rise)


def plan_finetune(
    labels: Path,
    out: Path,
    *,
    init: str = DEFAULT_MODEL,
    test: Path | None = None,
    keep: Path | None = None,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Plan:
    """Read and check the inputs of `finetune`; write nothing.

    Args:
        labels: labeled images, in any format that `extd data check` reads.
        out: a new folder.
        init: a model whose weights ship, or a `.safetensors` file.
        test: labeled images to evaluate on, instead of a share of `labels`.
        keep: labeled images of other kinds; up to `MAX_GENERAL` of them are mixed in.
        progress: wraps the images that are compared, to show a progress bar.

    Raises:
        FileExistsError: `out` is not empty.
        FileNotFoundError: labels, images or weights are missing.
        ValueError: nothing can be learned from the labels, or `init` names no shipped weights.
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
    general, repeated = drop_repeated(keep, general, [*samples, *held_out], pairs)
    recipe = _mix(recipe, folder, samples, general)
    notes = describe_duplicates(samples, pairs)
    notes += [f"left out: {line}" for line in (*repeated, *left_out)]
    return Plan(out, weights, recipe, samples, held_out, general, notes)


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
    """The recipe's keys for the network and its loss."""
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
        minutes: total time; steps are timed, and as many are made as fit.
        report: receives lines about the progress.
        began: when the time starts, in seconds of `time.monotonic`; now by default.

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
                # The same command can then be given again.
                shutil.rmtree(folder)
            raise
        return _export(plan, folder, before)


def _train(plan: Plan, folder: Path, end: float, report: Report) -> Detected:
    """Train until about `end`, leave the best weights in `folder`; what the initial ones detect."""
    with TemporaryDirectory(dir=plan.out, prefix="cache-") as cache:
        recipe, cost = _time_steps(plan.recipe, Path(cache))
        began = time.monotonic()
        before = _detect_before(plan)
        now = time.monotonic()
        report(f"AP before: {before.ap['all']:.3f}")
        recipe = _fit_recipe(plan, recipe, end - now, cost.step_seconds, now - began)
        cost = dataclasses.replace(cost, steps=recipe.iterations)
        report(f"{cost}; AP is measured {recipe.iterations // recipe.validation.every} times")
        try:
            train(recipe, folder, cache=Path(cache), cost=cost)
        except Stopped:
            report("exporting the best weights so far; a second signal stops at once")
    return before


def _detect_before(plan: Plan) -> Detected:
    """What the initial weights find in the test images."""
    if Path(plan.recipe.init).suffix:
        return detect_exported(load_network(plan.weights)[0], plan.test)
    # Shipped weights have an ONNX file; an export would delay the first step.
    detector = Detector(plan.recipe.init, threads=torch.get_num_threads())
    return run_detector(partial(single, detector), plan.test)


def _write_labels(plan: Plan, folder: Path, report: Report) -> None:
    """Write the label files that the recipe names, and report on them."""
    parts = (plan.train, plan.keep, plan.test)
    kinds = {"train": "training", "keep": "general", "test": "test"}
    for (name, kind), samples in zip(kinds.items(), parts, strict=True):
        if samples:
            write_jsonl(samples, folder / f"{name}.jsonl")
            faces = sum(len(sample.boxes) for sample in samples)
            report(f"{len(samples):,} {kind} images with {faces:,} faces")
    for line in plan.notes[:MAX_NOTES]:
        report(line)
    if (more := len(plan.notes) - MAX_NOTES) > 0:
        report(f"left out: {more:,} more; extd data check names all")


def _export(plan: Plan, folder: Path, before: Detected) -> Result:
    """Evaluate the best weights of the run in `folder`, and export them."""
    best = folder / BEST
    network, notes = load_network(best if best.exists() else folder / WEIGHTS)
    if plan.keep:
        move_weights(network, load_network(plan.weights)[0], 1 - TUNED_SHARE)
    exported = folder / "network.onnx"  # exported once, for it takes 10 s
    export_onnx(network, exported, notes)
    after = run_detector(partial(single, Detector(exported)), plan.test)
    rise = difference_interval(before, after)
    name = "model" if rise[0] > 0 else "not-better"
    result = Result(plan.out / f"{name}.onnx", before.ap, after.ap, rise)
    save_network(network, plan.out / f"{name}.safetensors", notes)
    exported.replace(result.model)
    int8 = None
    if isinstance(network, Lite):
        images = read_evenly([sample.path for sample in (*plan.train, *plan.keep)])
        export_int8(network, path := plan.out / f"{name}-int8.onnx", images, notes)
        int8 = run_detector(partial(single, Detector(path)), plan.test).ap["all"]
    if (sheet := draw_errors(after)) is not None:
        write_image(plan.out / ERRORS, sheet)
    write_text(plan.out / f"{name}.md", card(plan, result, int8, notes))
    return result


def _time_steps(recipe: Recipe, cache: Path) -> tuple[Recipe, Cost]:
    """The recipe with the faster precision, and the cost of its steps."""
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
    plan: Plan, recipe: Recipe, seconds: float, step: float, detecting: float
) -> Recipe:
    """The recipe with as many steps and validations as fit into `seconds`.

    `step` and `detecting` are the seconds of a step, and of detection in the test images.
    """
    measuring = EXPORT_SECONDS + detecting
    count = min(max(int(VALIDATION_SHARE * seconds / measuring), 1), MAX_VALIDATIONS)
    # At the end, the float and the int8 file are exported and evaluated, the int8 one calibrated.
    ending = 2 * measuring + detecting * CALIBRATION / len(plan.test)
    fitting = int((seconds - count * measuring - ending) / step)
    steps = max(min(fitting, MAX_EPOCHS * len(plan.train) // recipe.batch), MIN_STEPS)
    warmup = min(recipe.optimizer.warmup, steps // 5)
    optimizer = recipe.optimizer.model_copy(update={"warmup": warmup})
    validation = recipe.validation.model_copy(update={"every": -(-steps // count)})
    return recipe.model_copy(
        update={"iterations": steps, "optimizer": optimizer, "validation": validation}
    )


def card(plan: Plan, result: Result, int8: float | None, notes: dict[str, object]) -> str:
    """The model card, in Markdown."""
    rows = [
        f"| {size} | {result.before[size]:.3f} | {result.after[size]:.3f} |"
        for size in result.before
        if not math.isnan(result.before[size])
    ]
    advice = f"""```sh
extd detect photo.jpg --model {result.model.name}
```"""
    if not result.better:
        advice = """**Not recommended: AP did not rise beyond noise.** Use the initial model, or \
fine-tune with more images or more minutes."""
    quantized = "" if int8 is None else f" The int8 file has an AP of {int8:.3f}."
    kept = ""
    if plan.keep:
        kept = f", and {len(plan.keep):,} general ones; mean of the initial and the new weights"
    errors = f"see `{ERRORS}`"
    if not (plan.out / ERRORS).exists():
        errors = f"none at a threshold of {THRESHOLD}"
    faces = [sum(len(sample.boxes) for sample in part) for part in (plan.train, plan.test)]
    return f"""# {result.model.stem}

{plan.recipe.model}, fine-tuned on {date.today().isoformat()}. {result}.

{advice}

| faces | AP before | AP after |
|---|---:|---:|
{chr(10).join(rows)}

AP at IoU 0.5 (protocol `single`) on {len(plan.test):,} test images with {faces[1]:,} faces. \
The best weights were chosen on them, too, so AP is slightly optimistic.{quantized}

- Trained on {len(plan.train):,} images with {faces[0]:,} faces{kept}.
- Training: {notes.get("training", "unknown")}.
- Training data: {notes.get("training_data", "unknown")}.
- License of the initial weights: {notes.get("license", "unknown")}. \
Your images add their own terms.
- Errors on the test images: {errors}.
"""
