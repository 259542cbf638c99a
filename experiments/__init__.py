"""The questions, and the harness that answers them: probes, statistics, results, plots, report."""
