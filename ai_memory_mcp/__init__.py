"""ai-memory-mcp: one shared, persistent memory for AI coding agents.

Kept empty on purpose: the hook process imports this package on every event, so nothing may be imported here.
"""

__version__ = "0.1.0"
