"""Stands in for EuroEval 17.2.0, an external program: its command, its results file, its manners."""
