"""One file, one part of the night's report; each declares ``SECTION``."""
