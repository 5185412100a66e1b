"""HTTP routes: parse, call the use case, render."""
