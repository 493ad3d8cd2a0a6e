"""Load `extd serve` on this machine, and compare it with `extd detect`.

    python benchmarks/serve_load.py --requests 10000

Starts a server on a free port of 127.0.0.1 and prints a table: throughput and processor time of
`extd detect` on as many images, and of 8 clients that each send the next image once the last is
answered; times of answers at half of that rate, with requests at even and at random moments; memory
after all requests; how long the server takes to end under load, and whether it answered all that it
had accepted. The images are crops of 640x480 px from a folder, as JPEG. The clients run on the same
cores, and their processor time counts as the server's. Other load disturbs all numbers but those of
processor time and memory.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import PIL.Image

from extd.cpu import cores
from extd.images import read_image, resize

SIZE = 640, 480
CLIENTS = 8
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
EXTD = [sys.executable, "-m", "extd"]


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int

    def processor_time(self) -> float:
        """Seconds that all its threads and this process, the clients, have used (Linux)."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8")
        ticks = stat.rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") + time.process_time()

    def memory(self) -> int:
        """Bytes in memory (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        return 1024 * int(kilobytes)


@contextmanager
def started(*options: str) -> Iterator[Server]:
    command = [*EXTD, "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.match(r"http://[^ ]+:(\d+): ", line)
            if match is None:
                raise ValueError(f"the server did not start: {line or process.wait()}")
            yield Server(process, int(match[1]))
        finally:
            process.kill()


class Client:
    """A connection that sends one request at a time; leaner than http.client."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def post(self, data: bytes) -> int:
        """Send an image to be searched; the status of the answer, 0 if the server hung up."""
        head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        try:
            self._socket.sendall(head.encode() + data)
            received = b""
            while (end := received.find(b"\r\n\r\n")) < 0:
                if not (part := self._socket.recv(1 << 16)):
                    return 0
                received += part
            length = re.search(rb"content-length: (\d+)", received[:end])
            left = end + 4 + int(length[1] if length else 0) - len(received)
            while left > 0:
                left -= len(self._socket.recv(left))
        except (BrokenPipeError, ConnectionResetError):
            return 0
        return int(received[9:12])


def encoded_images(folder: Path, count: int) -> list[bytes]:
    """JPEG files of `SIZE`: random parts of the images of a folder, in random sizes."""
    draw = random.Random(0)
    images = [read_image(path) for path in sorted(folder.glob("*.jpg"))]
    encoded = []
    for image in islice(cycle(images), count):
        height, width = image.shape[:2]
        scale = draw.uniform(max(SIZE[0] / width, SIZE[1] / height), 1.5)
        large = resize(image, (round(width * scale) + 1, round(height * scale) + 1))
        x, y = draw.randint(0, large.shape[1] - SIZE[0]), draw.randint(0, large.shape[0] - SIZE[1])
        stream = io.BytesIO()
        PIL.Image.fromarray(large[y : y + SIZE[1], x : x + SIZE[0]]).save(stream, "JPEG")
        encoded.append(stream.getvalue())
    return encoded


def command_seconds(images: Sequence[bytes], *options: str) -> tuple[float, float]:
    """Seconds and processor time an image that `extd detect` takes, without its start."""
    few = max(len(images) // 10, 2)
    with tempfile.TemporaryDirectory() as name:
        times = []
        for count in (few, len(images)):
            folder = Path(name, str(count))
            folder.mkdir()
            for index, data in enumerate(images[:count]):
                (folder / f"{index:05}.jpg").write_bytes(data)
            command = [*EXTD, "detect", str(folder), "--json", str(folder / "a.jsonl"), *options]
            began, used = time.perf_counter(), os.times()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds, now = time.perf_counter() - began, os.times()
            user, system = now[2] - used[2], now[3] - used[3]
            times.append(np.array([seconds, user + system]))
    wall, processor = (times[1] - times[0]) / (len(images) - few)
    return float(wall), float(processor)


def closed_loop(port: int, images: Sequence[bytes], requests: int) -> float:
    """Answers per second to clients that each wait for theirs."""

    def work(share: int) -> None:
        with closing(Client(port)) as client:
            for data in islice(cycle(images), share):
                if (status := client.post(data)) != 200:
                    raise ValueError(f"the server answered {status}")

    with ThreadPoolExecutor(CLIENTS) as threads:
        began = time.perf_counter()
        list(threads.map(work, [requests // CLIENTS] * CLIENTS))
        return requests // CLIENTS * CLIENTS / (time.perf_counter() - began)


def open_loop(
    port: int, images: Sequence[bytes], requests: int, gap: Callable[[], float]
) -> list[float]:
    """Seconds from when each request was due, `gap` after the one before, to its answer."""
    due, moments = time.perf_counter() + 0.1, []
    for data in islice(cycle(images), requests):
        due += gap()
        moments.append((due, data))

    def work(moment: tuple[float, bytes]) -> float:
        due, data = moment
        time.sleep(max(due - time.perf_counter(), 0))
        # A new connection: the server closes those that are idle for long.
        with closing(Client(port)) as client:
            if (status := client.post(data)) != 200:
                raise ValueError(f"the server answered {status}")
        return time.perf_counter() - due

    with ThreadPoolExecutor(4 * CLIENTS) as threads:
        return list(threads.map(work, moments))


def stop_under_load(server: Server, images: Sequence[bytes]) -> tuple[float, int]:
    """Seconds from SIGTERM to the end, and how many of 8 requests in work were answered."""
    with ThreadPoolExecutor(CLIENTS) as threads, ExitStack() as stack:
        clients = [stack.enter_context(closing(Client(server.port))) for _ in range(CLIENTS)]
        answers = [threads.submit(client.post, images[0]) for client in clients]
        time.sleep(0.02)
        began = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait()
        took = time.perf_counter() - began
        return took, sum(answer.result() == 200 for answer in answers)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=EXAMPLES, help="folder of .jpg files")
    parser.add_argument("--requests", type=int, default=10_000, help="of the 8 clients")
    parser.add_argument("--sample", type=int, default=600, help="images of the other rows")
    parser.add_argument("--model", default="extd-lite")
    options = parser.parse_args(arguments)
    model = ["--model", options.model]
    # Or a client waits for others, and that counts as the server's time.
    sys.setswitchinterval(0.0005)
    images = encoded_images(options.images, options.sample)
    print(f"{cores()} of {os.cpu_count()} cores\n\n| | |\n|---|---|")
    both, processor = command_seconds(images, *model)
    alone, _ = command_seconds(images, *model, "--threads", "1")
    print_row("`extd detect`, images a second", f"{1 / both:.1f}")
    print_row("the same, processor time an image, ms", f"{1000 * processor:.1f}")
    print_row("`extd detect --threads 1`, ms an image", f"{1000 * alone:.1f}")
    with started(*model) as server:
        print_row("memory at the start, MB", f"{server.memory() / 1e6:.0f}")
        closed_loop(server.port, images, 2 * CLIENTS)
        used = server.processor_time()
        rate = closed_loop(server.port, images, options.sample)
        used = (server.processor_time() - used) / options.sample
        share = f"{rate:.1f} ({100 * rate * both:.0f} %)"
        print_row(f"server, {CLIENTS} clients, images a second", share)
        share = f"{1000 * used:.1f} ({100 * processor / used:.0f} %)"
        print_row("the same, processor time an image with the clients', ms", share)
        at_random = partial(random.Random(0).expovariate, rate / 2)
        for how, gap in (("evenly", lambda: 2 / rate), ("at random", at_random)):
            times = open_loop(server.port, images, options.sample, gap)
            middle, late = 1000 * np.percentile(times, (50, 99))
            print_row(f"half that rate, {how}: median, ms", f"{middle:.1f}")
            ratio = late / 1000 / alone
            print_row("the same, 99th percentile, ms", f"{late:.1f} ({ratio:.1f} times)")
        closed_loop(server.port, images, options.requests)
        label = f"memory after {options.requests:,} requests more, MB"
        print_row(label, f"{server.memory() / 1e6:.0f}")
        took, answered = stop_under_load(server, images)
        print_row("seconds from SIGTERM to the end", f"{took:.1f}")
        print_row(f"answered of {CLIENTS} requests in work", str(answered))


def print_row(label: str, value: str) -> None:
    print(f"| {label} | {value} |", flush=True)


if __name__ == "__main__":
    main()
