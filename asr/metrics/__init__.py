"""What is measured: word errors, their uncertainty, latency, memory and cost."""
