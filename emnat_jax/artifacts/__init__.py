"""What lies in a workdir: atomic files, records, manifests, shards, the journal, and the path of each."""
