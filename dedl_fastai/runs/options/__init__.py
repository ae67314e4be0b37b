"""Options of training runs as frozen dataclasses. Imports only the standard library, so that --help is fast."""
