"""Mutate valid inputs and read them: no crash, no hang, little memory, and errors that name them.

    python tools/fuzz.py images --count 100000
    python tools/fuzz.py --count 1000
    python tools/fuzz.py images --only 4711

A child process reads the cases, and another follows where one dies. Which bytes change depends on
the seed and the number of the case only. What breaks is kept in a folder with its reason.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

from fuzz_inputs import KINDS, Files, Kind

SECONDS = 60
"""A case that takes longer hangs."""
MEMORY = 2 << 30
"""Most bytes in memory at any time, with the interpreter, numpy and torch."""
ADDRESSES = 12 << 30
"""Limit of the address space, which protects the machine; libraries reserve much of it."""
MOST = 8
"""Changes of a case."""
SPECIAL = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = (
    *("", "nan", "inf", "-1", "1e309", "99999999999999999999", "null", "[]", "{}", '"', "\0"),
    *("../..", "\ud800", "0.0", "true", "face", ",", "\n", "<", "&x;", "%s", "&a *a", "!!python/x"),
)
TOKEN = re.compile(rb"[\w.+-]+|[^\w\s]")
TEXT = frozenset({".txt", ".json", ".jsonl", ".csv", ".xml", ".yaml"})


def mutate(data: bytes, other: bytes, text: bool, random_: random.Random) -> bytes:
    """A damaged copy of `data`, perhaps with parts of `other`."""
    for _ in range(random_.randint(1, MOST)):
        change = _change_text if text and random_.random() < 0.8 else _change_bytes
        data = change(data, other, random_)
    if data.startswith(b"\x89PNG") and random_.random() < 0.7:
        data = _with_checksums(data)
    return data


def _change_bytes(data: bytes, other: bytes, random_: random.Random) -> bytes:
    # Headers decide most.
    size = len(data) if random_.random() < 0.6 else min(len(data), 200)
    at = random_.randrange(size + 1)
    length = min(random_.choice((1, 1, 2, 4, 16, 64)), len(data) - at)
    match random_.randrange(6):
        case 0:
            return data[:at] + random_.randbytes(length) + data[at + length :]
        case 1:
            width = random_.choice((1, 2, 4, 8))
            number = random_.choice(SPECIAL) % (1 << 8 * width)
            order = random_.choice(("little", "big"))
            return data[:at] + number.to_bytes(width, order) + data[at + width :]  # type: ignore[arg-type]
        case 2:
            return data[:at] + data[at + length :]
        case 3:
            start = random_.randrange(len(data) + 1)
            return data[:at] + data[start : start + length * 4] + data[at:]
        case 4:
            start = random_.randrange(len(other) + 1)
            return data[:at] + other[start : start + length * 16] + data[at + length * 16 :]
        case _:
            # Not always: it leaves little to look at.
            return data[:at] if random_.random() < 0.2 else data[: at - 1] + data[at:]


def _change_text(data: bytes, other: bytes, random_: random.Random) -> bytes:
    lines = data.split(b"\n")
    match random_.randrange(4):
        case 0:
            del lines[random_.randrange(len(lines))]
        case 1:
            source = random_.choice((lines, other.split(b"\n")))
            lines.insert(random_.randrange(len(lines) + 1), random_.choice(source))
        case _:
            tokens = list(TOKEN.finditer(data))
            if tokens:
                one = random_.choice(tokens)
                word = random_.choice(WORDS).encode("utf-8", "surrogatepass")
                return data[: one.start()] + word + data[one.end() :]
    return b"\n".join(lines)


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of their content."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        chunk = data[at + 4 : end]
        parts.append(data[at : at + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big"))
        at = end + 4
    return b"".join(parts) + data[at:]


def write_case(inputs: dict[str, Files], seed: str, index: int, folder: Path) -> Path:
    """Write the files of a case into a folder; return the one that is mutated."""
    random_ = random.Random(f"{seed}/{index}")
    files = inputs[random_.choice(sorted(inputs))]
    donor = inputs[random_.choice(sorted(inputs))]
    main = next(iter(files))
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == main:
            text = path.suffix in TEXT
            content = mutate(content, next(iter(donor.values())), text, random_)
        path.write_bytes(content)
    return folder / main


def fault_of(kind: Kind, path: Path, folder: Path) -> str | None:
    """What is wrong with how a case is read, or None."""
    target = folder if kind.folder else path
    try:
        kind.read(target)
    except (ValueError, OSError) as error:
        if str(target) not in str(error):
            return "the error does not name the input: " + "".join(
                traceback.format_exception(error)
            )
        if "too large for the memory" in str(error):
            return f"it takes the memory: {error}"
    except BaseException as error:  # noqa: BLE001 - finding these is the purpose
        return "".join(traceback.format_exception(error))
    return None


def work(name: str, seed: str, indices: range, folder: Path) -> None:
    """Read cases in this process; print the number of each before, and what is wrong after it."""
    report = os.fdopen(os.dup(1), "w")
    # Libraries print to it, too.
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    warnings.simplefilter("ignore")
    kind = KINDS[name]
    inputs = kind.make()
    for index in indices:
        print(index, file=report, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        path = write_case(inputs, seed, index, folder)
        # Ends this process with a traceback of all threads.
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        fault = fault_of(kind, path, folder)
        faulthandler.cancel_dump_traceback_later()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        if fault is None and peak > MEMORY:
            fault = f"{peak >> 20} MB of memory"
        if fault is not None:
            print(json.dumps(fault), file=report, flush=True)
        if peak > MEMORY:
            # The peak of a process never falls.
            return


def run(name: str, seed: str, indices: range, out: Path) -> list[str]:
    """Read all cases in child processes; keep what breaks, and return why."""
    faults = []
    start = indices.start
    with tempfile.TemporaryDirectory() as place, (Path(place) / "stderr").open("w+b") as stderr:
        # Deep, since inputs may name folders above.
        folder = Path(place) / "1" / "2" / "3" / "case"
        while start < indices.stop:
            command = [sys.executable, __file__, name, "--seed", seed, "--work", str(folder)]
            command += ["--first", str(start), "--count", str(indices.stop - start)]
            stderr.seek(0)
            stderr.truncate()
            index = start - 1
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True
            ) as child:
                for line in child.stdout or ():
                    if line[:1].isdigit():
                        index = int(line)
                    else:
                        fault = json.loads(line)
                        faults.append(keep(name, index, fault, folder, out))
            if child.returncode:
                stderr.seek(0)
                told = stderr.read()[-4000:].decode("utf-8", "replace")
                if index < start:
                    raise RuntimeError(f"no case was begun: {told}")
                fault = f"the process ended with {child.returncode}: {told}"
                faults.append(keep(name, index, fault, folder, out))
            start = index + 1
    return faults


def keep(name: str, index: int, fault: str, folder: Path, out: Path) -> str:
    """Copy a case that broke something, unless very many were; return its reason."""
    lines = fault.strip().splitlines()
    reason = re.sub(r"\d+", "N", " ".join(dict.fromkeys((lines[0][:60], lines[-1][:100]))))
    print(f"{name} {index}: {lines[-1][:200]}", flush=True)
    target = out / f"{name}-{index}"
    if len(list(out.glob(f"{name}-*"))) < 500 and folder.is_dir():
        shutil.copytree(folder, target, dirs_exist_ok=True)
        (target / "reason.txt").write_text(fault, "utf-8", "backslashreplace")
    return reason


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all by default")
    parser.add_argument("--count", type=int, default=1000, help="cases of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--out", type=Path, default=Path("results/fuzz"))
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    indices = range(options.first, options.first + options.count)
    if options.work is not None:
        work(options.kinds[0], options.seed, indices, options.work)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    broken = 0
    for name in options.kinds or KINDS:
        reasons = Counter(run(name, options.seed, indices, options.out))
        broken += reasons.total()
        print(f"{name}: {len(indices):,} cases, {reasons.total():,} broke something")
        for reason, count in reasons.most_common():
            print(f"  {count:6,}  {reason}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
