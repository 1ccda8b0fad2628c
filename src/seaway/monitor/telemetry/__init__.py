"""What other systems get: spans, alert rules, dashboards."""
