"""Any of the networks, from its configuration."""

from __future__ import annotations

from extd.models.config import ExtdConfig, NetworkConfig
from extd.models.extd import Extd
from extd.models.s3fd import S3fd

TorchNetwork = Extd | S3fd


def build_network(config: NetworkConfig) -> TorchNetwork:
    """A fresh network."""
    return Extd(config) if isinstance(config, ExtdConfig) else S3fd(config)
