"""What a step costs: timings, compiled programs for slices that are not here, operations and bytes."""
