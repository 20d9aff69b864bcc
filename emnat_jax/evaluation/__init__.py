"""Pure metrics of strings, scores and counts: BLEU, chrF++, repetition, lengths, multi-modality."""
