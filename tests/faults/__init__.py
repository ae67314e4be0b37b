"""Damaged files, killed processes and absurd values: refused with one sentence, or warned of."""
