"""Steps recorded as plain graphs of tensor operations, simplified, and run: what ``physics.trace`` is built on."""
