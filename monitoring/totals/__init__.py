"""Totals since Tally was installed, of answers, tokens, times and credits; and how they are added up."""
