"""Lets `python -m mbt_lite` stand for `mbt-lite`."""

from mbt_lite.cli import main

main()
