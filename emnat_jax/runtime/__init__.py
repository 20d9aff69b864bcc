"""Devices and processes: mesh and shardings, start-up, broadcasts, watchdog, preemption, progress."""
