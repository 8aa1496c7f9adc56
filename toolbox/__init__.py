"""The leaf layer: selectors and pure functions that import nothing of loaders, models, trainer or commander."""
