"""The inference engine of a simulated model server: pure, in virtual time, no I/O."""
