"""`python -m dibench`, and the command `dibench`."""

import signal


def start() -> None:
    """Run the command line. Ctrl-C while it is loaded ends it without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dibench.cli import main

    main()


if __name__ == "__main__":
    start()
