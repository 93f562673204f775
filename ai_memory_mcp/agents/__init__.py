"""Agents as data: `spec` reads `agent_configs/`, `install` wires and unwires them."""
