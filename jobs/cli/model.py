"""The life of a model: trained, promoted or rejected, pinned to a day."""

from __future__ import annotations

import argparse
import getpass
from typing import Any

from jobs.cli.common import day, load, new_run, show


def register(add: Any) -> None:
    made = add(
        "train",
        do_train,
        "Fit and register a ranker; promote it if it passes its gate.",
        "train --ds 2024-03-15",
        "train --ds 2024-03-15 --mode dry_run",
    )
    made.add_argument("--ds", type=day, required=True)
    made.add_argument(
        "--mode",
        choices=("auto", "manual", "dry_run"),
        help="manual: leave the decision to `nightjar promote` or `nightjar reject`; default: NIGHTJAR_PROMOTION",
    )
    made.add_argument("--warm", action="store_true", help="go on from the champion, or say why that cannot be done")
    made = add(
        "promote", do_promote, "Make a challenger that passed its gate the champion.", 'promote 7 --reason "reviewed"'
    )
    made.add_argument("version", help="version in the registry")
    made.add_argument("--reason", required=True)
    made = add(
        "reject", do_reject, "Refuse a challenger; the reason stays with it.", 'reject 7 --reason "unfair to new items"'
    )
    made.add_argument("version", help="version in the registry")
    made.add_argument("--reason", required=True)
    made = add(
        "repin",
        do_repin,
        "Give a day another version of the model, on record; reruns of the day use it.",
        'repin --ds 2024-03-15 --version 6 --reason "7 was fitted on wrong prices"',
    )
    made.add_argument("--ds", type=day, required=True)
    made.add_argument("--version", required=True, help="version in the registry, or popularity for none")
    made.add_argument("--reason", required=True)
    made.add_argument("--force", action="store_true", help="take a version that a person rejected")
    made = add(
        "reset-objectives",
        do_reset,
        "Give a content type the first weights of its objectives, on record.",
        'reset-objectives --ds 2024-03-15 --type video --reason "the campaign is over"',
    )
    made.add_argument("--ds", type=day, required=True)
    made.add_argument("--type", required=True, help="content type, as in ops.objective_weights")
    made.add_argument("--reason", required=True)


def do_train(options: argparse.Namespace) -> None:
    from jobs import steps

    market = load().market.name
    made = steps.fit_rankers(str(options.ds), market, new_run("train"), options.warm)
    made |= steps.promote(market, made["version"], made["passed"], options.mode)
    gate = "passed" if made["passed"] else "refused"
    show(options, made, f"Version {made['version']}: gate {gate}; champion: {made['champion'] or 'as before'}.")


def do_promote(options: argparse.Namespace) -> None:
    from jobs import steps

    made = steps.promote(load().market.name, options.version, True, "manual", options.reason, getpass.getuser())
    show(options, made, f"Version {options.version} is champion.")


def do_reject(options: argparse.Namespace) -> None:
    from jobs import steps

    made = steps.reject_model(load().market.name, options.version, options.reason, getpass.getuser())
    show(options, made, f"Version {options.version} is rejected; the champion stays.")


def do_repin(options: argparse.Namespace) -> None:
    from jobs import steps

    made = steps.repin_model(
        str(options.ds), load().market.name, options.version, options.reason, new_run("repin"), options.force
    )
    show(options, made, f"{options.ds} uses {made['version'] or 'popularity'} from now on; lists stay as served.")


def do_reset(options: argparse.Namespace) -> None:
    from jobs import steps

    made = steps.reset_objectives(
        str(options.ds), load().market.name, options.type, options.reason, new_run("reset-objectives")
    )
    said = f"{options.type}: {made['ctr']} / {made['cvr']} / {made['dwell']} from {options.ds} on."
    show(options, made, f"{said} Lists stay as served.")
