"""Trained models in folders of their own, for runtimes without JAX: ONNX and CTranslate2."""
