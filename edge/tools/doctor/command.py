"""The command itself: checks appear as they are made, a report is packed behind them."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from edge.station.machine import ROOT
from edge.tools.doctor import DEFAULT_CONFIG, all_checks, lines, report
from edge.tools.terminal import say


def doctor(config: Path | None, report_path: Path | None) -> int:
    """Make all checks; returns 1 where one failed, else 0.

    Raises:
        ConfigError: the report's file is there already.
        TapetumError: the report cannot be written.
    """
    logging.disable(logging.WARNING)  # the checks tell what the service would log
    config = config or DEFAULT_CONFIG
    if report_path:
        report.require_new(report_path)
    show, checks = lines.Display(sys.stdout), []
    for check in all_checks(config):
        checks.append(check)
        say(show(check))
    say(lines.summary(checks))
    if report_path:
        report.write_report(report_path, config, checks, ROOT)
        say(f"{report_path} is written: look into it before you send it")
    return int(any(check.state == "failed" for check in checks))
