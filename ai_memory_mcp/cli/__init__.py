"""The command line: `main` parses and translates errors, the other modules hold the commands, `render` prints."""
