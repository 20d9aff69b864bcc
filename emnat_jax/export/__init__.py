"""Trained models in folders of their own: ONNX and CTranslate2, which need no JAX, and StableHLO."""
