"""Losses, metrics, schedules, callbacks, learners and the run folder."""
