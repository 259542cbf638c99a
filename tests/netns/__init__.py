"""Tests of running networks. They need root."""
