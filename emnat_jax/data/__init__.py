"""From text to rows and batches: corpora and tasks, vocabulary, preparation, batches. Host code only."""
