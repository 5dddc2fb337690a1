"""``python -m csilink`` is the command ``csilink``."""

from benchmarks.cli import main

if __name__ == "__main__":
    main()
