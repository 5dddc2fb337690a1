"""Knowledge distillation: losses between a teacher and a student."""
