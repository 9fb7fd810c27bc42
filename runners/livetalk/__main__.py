"""``python -m livetalk``."""

from livetalk.cli.main import main

main()
