"""Parse commands of Airflow's command line, given as JSON, by its own parser; prints what each was taken for."""

from __future__ import annotations

import json
import sys

from airflow.cli.cli_parser import get_parser

parser = get_parser()
found = [vars(parser.parse_args(words)) for words in json.loads(sys.argv[1])]
print(json.dumps([{k: v if isinstance(v, str | int | None) else str(v) for k, v in each.items()} for each in found]))
