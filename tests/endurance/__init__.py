"""What keeps a gateway calm: cheap clients by the thousand, fuzzing, a soak."""
