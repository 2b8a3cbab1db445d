"""Profiling tools: timer, peak memory, time by part, multiply-adds, roofline, hardware."""
