"""What operators see: health now; metrics, alerts and reports come with their own work."""
