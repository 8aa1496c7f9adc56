"""Index arrays of training, validation and test, by row or by patient."""
