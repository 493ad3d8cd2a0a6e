"""Any of the networks, from its configuration."""

from __future__ import annotations

from extd.models.config import ExtdConfig, LiteConfig, NetworkConfig
from extd.models.extd import Extd
from extd.models.lite import Lite
from extd.models.s3fd import S3fd

TorchNetwork = Extd | Lite | S3fd


def build_network(config: NetworkConfig) -> TorchNetwork:
    """A fresh network."""
    if isinstance(config, ExtdConfig):
        return Extd(config)
    return Lite(config) if isinstance(config, LiteConfig) else S3fd(config)
