"""Bugsink as a component: its settings from one file, and what has to be done before it starts."""
