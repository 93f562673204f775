"""Surfaces that speak to agents and machines: MCP over stdio. Imports nothing, see `stdio`."""
