"""The EM rounds: the plan and its stages, the driver that runs or resumes them, and the report of a run."""
