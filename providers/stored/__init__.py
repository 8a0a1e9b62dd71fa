"""What providers keep between calls: objects, lists, files, batches; and what is free."""
