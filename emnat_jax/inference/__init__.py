"""A trained model and what it does: translations, N-best lists, scores, rescoring, distilled corpora."""
