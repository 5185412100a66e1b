"""Endurance: cheap clients by the thousand, fuzzing, a soak."""
