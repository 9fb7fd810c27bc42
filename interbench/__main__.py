"""``python -m interbench``."""

from interbench.cli.main import main

main()
