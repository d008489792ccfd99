"""Sweeps: spec and tiles, pools of threads or Dask workers, sinks in memory or in a Zarr store, plans, TOML."""
