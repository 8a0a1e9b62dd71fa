"""What providers keep for keys: whose it is, lists of it, batches until they are settled."""
