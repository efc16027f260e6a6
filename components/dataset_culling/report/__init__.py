"""The report: pages of a run, of several runs and of a fleet, summary.json, and output in a terminal."""
