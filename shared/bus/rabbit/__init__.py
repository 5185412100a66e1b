"""Rabbit."""
