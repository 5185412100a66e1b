"""Contenders."""
