//! Datasets: files in versions, read to their end before a version exists.
