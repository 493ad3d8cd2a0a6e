"""`extd train`: from a recipe to weights."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from extd.catalog import shipped_recipes
from extd.cli.terminal import WHOLE_NUMBER, Folder, UsageError, print_line, usage_errors

if TYPE_CHECKING:
    from extd.training.recipe import Recipe

PROFILE = Parameter(metavar="STEPS", validator=Number(gte=0), show_default="no steps")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Run:
    """How a training runs.

    Attributes:
        resume: Go on where the run in that folder stopped; without one there, begin.
        device: What computes, such as cpu, cuda or cuda:1.
        threads: How many CPU threads compute.
        cache: Folder for the decoded images, 3 bytes a pixel.
        profile: Record STEPS steps in profile.json, for https://ui.perfetto.dev.
    """

    resume: bool = False
    device: Annotated[str | None, Parameter(show_default="cuda if there is one, else cpu")] = None
    threads: Annotated[int | None, WHOLE_NUMBER, Parameter(show_default="one a core")] = None
    cache: Annotated[Folder | None, Parameter(show_default="in the user's cache folder")] = None
    profile: Annotated[int, WHOLE_NUMBER, PROFILE] = 0


RUN = Run()
OF_RECIPE = Parameter(show_default="as the recipe says")


def train(
    recipe: Annotated[Path | None, Parameter(metavar="RECIPE", show_default=False)] = None,
    /,
    *,
    out: Folder | None = None,
    data: Annotated[list[Path] | None, OF_RECIPE, Parameter(metavar="PATH")] = None,
    model: Annotated[str | None, OF_RECIPE, Parameter(metavar="NAME")] = None,
    list_recipes: Annotated[bool, Parameter(name="--list")] = False,
    print_config: bool = False,
    run: Run = RUN,
) -> int:
    """Train a detector.

    Ctrl-C saves and stops after the current step; a second one stops at once. The same command
    with --resume goes on exactly there. Needs PyTorch, which the first of these commands installs.

        pip install "extd[train]"
        extd train finetune --data faces/labels.jsonl --out runs/first

    Several GPUs: torchrun --nproc-per-node 4 -m extd train RECIPE --data PATH --out DIR

    Args:
        recipe: One that --list names, or a YAML file: model, data, augmentation, loss, schedule.
        out: Folder for checkpoint, weights, logs and curves; made if need be.
        data: The images to learn from, in any format of `extd data check`; once for each dataset.
        model: The detector to train, any that `extd models` lists.
        list_recipes: List the recipes that come with extd.
        print_config: Print the recipe with every default, and train nothing.
    """
    if list_recipes:
        return print_recipes()
    if recipe is None:
        raise UsageError("give a recipe; extd train --list lists some")
    if out is None and not print_config:
        raise UsageError("give --out DIR, the folder for checkpoint and weights")

    from extd.training.recipe import dump_recipe, load_recipe

    with usage_errors():
        chosen = load_recipe(recipe, data or (), model)
    if out is None or print_config:
        print_line(dump_recipe(chosen).rstrip())
        return 0

    check_new(recipe, out, run)
    # Of the processes of torchrun one prints.
    is_main = os.environ.get("RANK", "0") == "0"
    weights = fit(chosen, out, run, quiet=not is_main)
    if is_main:
        print_line(f"written: {weights}")
        onnx = weights.with_suffix(".onnx")
        print_line(f"to detect with it: extd export {weights} {onnx}")
    return 0


def fit(recipe: "Recipe", out: Path, run: Run, *, quiet: bool) -> Path:
    """Train, and say which option helps where it ends early."""
    from extd.training.checkpoint import Stopped
    from extd.training.image_cache import CacheError
    from extd.training.trainer import train

    try:
        return train(recipe, out, **asdict(run))
    except Stopped:
        print_line("go on with --resume", Console(stderr=True, quiet=quiet))
        raise
    except CacheError as error:
        raise CacheError(f"{error}; choose another folder with --cache") from error


def print_recipes() -> int:
    """Print the names of the recipes in the package, and what each is for."""
    recipes = shipped_recipes()
    width = max(map(len, recipes))
    print_line("\n".join(f"{name:{width}}  {text}" for name, text in recipes.items()))
    return 0


def check_new(recipe: Path, out: Path, run: Run) -> None:
    """Say so if there is nothing to resume; refuse to write over the given recipe."""
    from extd.training.checkpoint import CHECKPOINT

    if (out / CHECKPOINT).exists():
        return
    if recipe.resolve() == (out / "recipe.yaml").resolve():
        raise UsageError(f"the run would write its recipe over {recipe}; choose another --out")
    if run.resume and not (out / "stage1").exists():
        print_line(f"{out} holds no run to go on with: this one begins")
