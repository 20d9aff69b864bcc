"""Pure metrics of strings, scores and counts: BLEU, chrF++, TER, repetition, lengths, multi-modality."""
