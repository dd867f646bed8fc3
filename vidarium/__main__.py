"""`python -m vidarium` is the command line."""

from vidarium.cli import main

main()
