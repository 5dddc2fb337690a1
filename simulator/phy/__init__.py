"""The only code that imports Sionna and TensorFlow: channel sources and the CIR to OFDM response.

Written for Sionna 1.2 (TensorFlow). Sionna 2 moved to PyTorch; changing over means rewriting this folder only.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
