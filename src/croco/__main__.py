"""`python -m croco` is the command `croco`."""

from croco.cli import main

if __name__ == "__main__":  # workers that are spawned import this module
    main()
