"""What our processes say of themselves: JSON log lines, and measures in Prometheus' text format."""
