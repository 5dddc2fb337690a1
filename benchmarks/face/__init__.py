"""What `import csilink` offers for scripts and notebooks: parts of the link on plain arrays, without scenario files."""
