"""``python -m bench``: the command line without an installed console script."""

import sys

from .cli import main

# asv imports every module of this folder to look for benchmarks
if __name__ == "__main__":
    sys.exit(main())
