"""``python -m interbench``."""

from interbench.cli import main

main()
