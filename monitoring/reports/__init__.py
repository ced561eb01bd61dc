"""Reports for staff: revenue, usage, models, performance and incidents of a period, as tables that all doors show."""
