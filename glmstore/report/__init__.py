"""Leaderboards and reports."""
