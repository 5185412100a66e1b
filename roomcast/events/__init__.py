"""`roomcast events`: the event store and the dead letters, for operators."""
