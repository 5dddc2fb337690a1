"""NF-KD: variable-bit feedback with knowledge distillation, measured beside the paper."""
