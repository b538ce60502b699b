"""Tables, figures and reports from the numbers of ``metrics.json`` and the texts of ``generations.jsonl``."""
