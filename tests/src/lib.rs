//! Whole-house tests; everything is in `e2e/` (the binary as processes) and `clients/` (outsiders).
