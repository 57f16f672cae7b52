"""Simulated model servers: vLLM's HTTP face over a virtual-time engine."""
