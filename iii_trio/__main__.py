"""`python -m iii_trio`: the same as the command `iii-trio`."""

import sys

from .cli import main

sys.exit(main())
