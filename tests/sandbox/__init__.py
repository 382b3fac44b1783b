"""Tests of tmt.sandbox."""
