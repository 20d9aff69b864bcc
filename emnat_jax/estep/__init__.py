"""The E-step: from candidates with scores to chosen records; rules, posterior, constraints, selection."""
