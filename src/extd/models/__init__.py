"""The networks: configurations, the torch code, checkpoints and export."""
