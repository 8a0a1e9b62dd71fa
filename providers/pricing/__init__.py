"""What a model's calls cost: compiled prices, and the catalogue of which model costs what since when."""
