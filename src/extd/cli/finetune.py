"""`extd finetune`: a detector for one's own images."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from extd.catalog import DEFAULT_MODEL
from extd.cli.terminal import Folder, UsageError, print_line, progress_bar, usage_errors


def finetune(
    labels: Annotated[Path, Parameter(metavar="LABELS")],
    /,
    *,
    out: Folder | None = None,
    from_: Annotated[str, Parameter(name="--from", metavar="MODEL")] = DEFAULT_MODEL,
    minutes: Annotated[float, Parameter(validator=Number(gt=0))] = 20.0,
    test: Annotated[Path | None, Parameter(metavar="LABELS")] = None,
    keep: Annotated[Path | None, Parameter(metavar="LABELS")] = None,
) -> int:
    """Adapt a detector to your own images.

    It starts from trained weights, measures average precision (AP) before, during and after
    training, and writes the best model into a folder: model.onnx, model-int8.onnx, a model card,
    and a sheet of the worst errors. If AP does not rise beyond noise, the files are called
    not-better. Ctrl-C ends the training early and exports the best weights so far; a second one
    stops at once.

        pip install "extd[train]"
        extd finetune faces/labels.jsonl --out mine
        extd detect photo.jpg --model mine/model.onnx

    Args:
        labels: Ten labeled images or more, in any format that `extd data check` reads.
        out: A new folder.
        from_: The initial model: one of `extd models`, or a .safetensors file.
        minutes: How long the whole command may take.
        test: Labeled images to evaluate on; by default a tenth of LABELS, at least five images,
            is held out from training.
        keep: General labeled images on which it must not get worse, such as WIDER FACE's training
            set: half of the crops come from up to 500 of them, and the result is a mean of the
            weights before and after.
    """
    began = time.monotonic()
    if out is None:
        raise UsageError("give --out DIR, a new folder for the model")
    from extd.training import finetune as training

    with usage_errors(), progress_bar() as bar:
        show = partial(bar.track, description="comparing images")
        plan = training.plan_finetune(labels, out, init=from_, test=test, keep=keep, progress=show)
    result = training.finetune(plan, minutes, print_line, began)
    print_line(str(result))
    print_line(f"written: {result.model}")
    if result.better:
        print_line(f"to detect with it: extd detect photo.jpg --model {result.model}")
    else:
        print_line("more images or more minutes may help")
    if (sheet := out / training.ERRORS).exists():
        print_line(f"worst errors: {sheet}")
    return 0
