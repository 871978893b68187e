"""``python -m jobs.services <home>`` is the supervisor; `up` starts it."""

import sys

from jobs.services.supervise import main

sys.exit(main())
