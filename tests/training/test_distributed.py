from __future__ import annotations

import pytest
import torch

from extd.training.distributed import init_distributed, usable_device


def test_alone_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with init_distributed("cpu") as dist:
        assert (dist.rank, dist.world_size, dist.is_main) == (0, 1, True)
        values = torch.tensor([1.0, 2.0])
        assert torch.equal(dist.sum(values), values)
        assert dist.broadcast(3) == 3


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="device 'gpu' does not work here"):
        usable_device("gpu")
