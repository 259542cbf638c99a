"""Tests that need a stock kernel: `./nvgre vm test` runs them in a guest, and `./nvgre test` has it do so."""
