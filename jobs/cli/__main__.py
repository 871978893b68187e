"""``python -m jobs.cli``: the command line where no script is installed."""

import sys

from jobs.cli import main

sys.exit(main())
