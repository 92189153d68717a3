"""`python -m dibench`."""

from dibench.cli import main

main()
