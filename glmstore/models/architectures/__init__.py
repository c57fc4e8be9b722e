"""Networks in torch, imported only when a model is loaded."""
