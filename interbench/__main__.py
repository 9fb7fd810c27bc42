"""The program: ``interbench``, or ``python -m interbench``."""

from interbench.base import termination
from interbench.base.streams import settle_streams


def main() -> None:
    """Run the command line, and end in good order when a signal says so."""
    # First: what is opened from here on must not take the place of a standard stream that is closed.
    settle_streams()
    termination.heed("interbench: interrupted; the same command again goes on from here.")
    try:
        # Only now: what takes long to import can be interrupted as well.
        from interbench.cli.main import main as run_verb

        run_verb()
    except termination.Terminated:
        termination.end()
    except SystemExit as leaving:
        termination.leave(leaving)


if __name__ == "__main__":
    main()
