"""EuroEval (euroeval.com) on a model and its adapters: its environment, command, results and tables."""

from croco.euroeval.command import RESULTS, command, stand_in, surroundings
from croco.euroeval.environment import prepared
from croco.euroeval.results import Dropped, Result, keep_whole_lines, read_results
from croco.euroeval.sets import PAPER, sets_for
from croco.euroeval.tables import tabulate

__all__ = [
    "PAPER",
    "RESULTS",
    "Dropped",
    "Result",
    "command",
    "keep_whole_lines",
    "prepared",
    "read_results",
    "sets_for",
    "stand_in",
    "surroundings",
    "tabulate",
]
