//! xdpwatch as a library: capture, workers and reports around the pure detector.
