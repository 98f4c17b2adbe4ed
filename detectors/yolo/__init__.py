"""YOLO detectors: .pt by ultralytics, .onnx by onnxruntime."""
