"""What texts say: tokens, sentiment and needs, in English and Chinese; the words are data in ``features/lexicon``."""
