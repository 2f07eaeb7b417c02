"""Fine-tune Sentence Transformers and deploy them for semantic search and clustering."""
__version__ = "0.1.0"
