"""Published claims: what a suite says of them, what was measured, and which verdict that makes."""
