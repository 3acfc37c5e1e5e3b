"""PromQL: parser with positions and an evaluator vectorised over blocks."""
