"""The instrument: timer, memory, time by part, multiply-adds, roofline, hardware."""
