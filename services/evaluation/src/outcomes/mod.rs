//! Outcomes that become known later, live metrics, schedules.
