"""Runs of commands: programs that know nothing of the platform, watched, stopped, and their files kept."""
