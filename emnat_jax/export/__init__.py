"""A trained model in a folder of its own, for runtimes without JAX: students as ONNX, teachers for CTranslate2."""
