"""From records of a run or a sweep to pages and tables; no file is read here."""
