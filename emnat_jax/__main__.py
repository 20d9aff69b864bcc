"""`python -m emnat_jax` is `emnat`."""

import sys

from emnat_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
