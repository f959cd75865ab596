"""`python -m vmjit`: the same as the command `vmjit`."""

import sys

from vmjit.cli import main

if __name__ == "__main__":
    sys.exit(main())
