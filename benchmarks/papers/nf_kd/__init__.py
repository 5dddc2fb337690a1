"""NF-KD: variable-bit feedback with knowledge distillation, measured and compared with the paper."""
