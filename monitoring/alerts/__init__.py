"""Alerts: what is wrong is seen, told to operators once, and closed when it is over."""
