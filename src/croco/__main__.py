"""`python -m croco` is the command `croco`."""

from croco.cli import main

main()
