"""Cohere: chat of both versions, embed, rerank."""
