"""What operators see: the health of Tally now. Metrics, alerts and reports are still to be written."""
