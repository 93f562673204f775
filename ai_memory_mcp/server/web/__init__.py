"""What a browser is shown of a memory: read only, from `Memory` alone, without scripts or requests elsewhere."""
